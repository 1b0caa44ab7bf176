// Package costd is the place of the cost daemon, which grants budget leases to
// the stages that pay for what they do.
//
// It is not built yet. Nothing in this release calls a paid service, so there
// is no money to guard: the providers are "local" and "mock", both free.
package costd
