// Package e2e tests Sluice through its front door: the real binaries of every
// stage as processes of their own, a nats-server that can be killed, documents
// published the way its users publish them, and nothing but what users can see
// to judge the outcome by: the bucket "documents", the events, the dead
// letters, search, and the index on disk.
//
// Everything is random only by a seed, which each test logs; SLUICE_E2E_SEED
// repeats a run.
package e2e
