// Package broker connects to NATS, and makes there what services declare: the
// streams, consumers, buckets and object stores, and who may use which of them.
//
//   - service.go: what a service declares (Service), beside its code.
//   - streams.go: how the declared streams are kept, and those that package events names.
//   - apply.go: Ensure makes what is missing of it, Apply does all of it and reports,
//     Bind only looks it up.
//   - consumer.go: the consumer of a stage, and what to do if another stage has it.
//   - rights.go, auth.go, keys.go: the NATS users, their rights and keys.
//   - connect.go, watch.go: connections, and following a bucket.
//
// Every hand-off stream refuses new messages when it is full (discard new):
// JetStream's default, discard old, silently drops work nobody has done yet.
package broker
