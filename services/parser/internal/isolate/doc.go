// Package isolate converts documents in child processes, so that one which
// hangs, crashes or eats memory costs a child and not the service.
//
// Children are this same binary, started again with a mark in the environment:
// there is nothing else to install, and parent and child cannot differ in
// version. A program that uses the package calls [Init] before anything else in
// main, and a test binary in TestMain.
//
//	parent                                   child
//	  | -- stdin: name, type, limits, bytes -> |  reads the next request even while
//	  | <- fd 3: which member it reads -------- |  it converts: EOF says the parent
//	  | <- fd 3: Markdown, facts | failure  -- |  is gone, and it goes too
//
// What ends a child, and what the document's failure is then:
//
//	the deadline (Limits.Time and a grace)   killed           Validation "timeout"
//	resident memory above Config.Memory      exits by itself  Validation "too-large"
//	a panic, a fatal error, a kill from outside               Execution  "parser-crash"
//	Config.Documents done, or it has grown   replaced         -
//	Close, or the caller's context           killed           Unavailable, the document is not to blame
//	the parent died, even by SIGKILL         exits            -
//
// If a child dies of its memory or a crash while it reads a member of an archive or a
// mail, the failure is that of the member: the document is begun again without it.
package isolate
