// Package events is the vocabulary of Sluice and its architecture document:
// if a picture elsewhere disagrees with this page, this page is right.
//
// # What flows
//
// Documents go in, searchable vectors come out. Every hand-off is a JetStream
// stream with work-queue retention that refuses new messages when it is full
// (discard new), so that a slow stage slows its suppliers and drops nothing.
//
//	docs.submit.> docs.uri docs.delete        stream DOCUMENTS  -> parser
//	docs.parsed                               stream PARSED     -> chunker
//	docs.chunks                               stream CHUNKS     -> embedder
//	docs.vectors                              stream VECTORS    -> indexer
//	docs.upgrade                              stream UPGRADES   -> upgrader
//	docs.reparse                              stream UPGRADES   -> reparser
//	docs.held.<stage>.<group>                 stream HELD       -> the stage that set it aside
//	docs.event.<document>.<what>              stream EVENTS     -> recorder, anyone
//	docs.dead.<stage>                         stream DEADLETTER -> operators
//	cost.usage.<service>.<operation>          stream COSTS      -> costd
//
// The object store "inbox" is an injection path too: what is put there is
// submitted by reference. The object store "blobs" holds whatever is too large
// for a message (the claim check). The KV bucket "documents" has one entry a
// document, folded from EVENTS by the recorder, its only writer.
//
// # Identity
//
// Nothing has a random identity except the correlation ID, so a replay is
// always recognised as one.
//
//   - A document is named by tenant and name, or by its content if it has no
//     name: DocumentID, ContentDocumentID.
//   - A revision of a document follows from the time at which the server stored its
//     submission in DOCUMENTS (Revision, package clock). Later submissions win
//     everywhere, whatever overtakes what, and of one submission the parser that was
//     meant wins over a fallback. A stream or an index that was restored, or a
//     stream that was made again, changes nothing about what is newer. A replayed
//     submission keeps its revision.
//   - A chunk is named by document, ordinal, text and pipeline fingerprint: ChunkID.
//   - A fingerprint says by which code and settings something was made. Equal
//     content and equal fingerprints mean a duplicate, which costs nothing.
//
// # What is promised
//
//   - A stage publishes its results, waits for every acknowledgement, and only
//     then acknowledges its input. Whatever dies on the way, the input comes again.
//   - What comes again has the same IDs, so the effect happens once.
//   - Every accepted document reaches a final State: complete, duplicate,
//     degraded, failed (with a reason), or deleted.
//   - A message that cannot be handled is moved to DEADLETTER with the reason,
//     whole, and can be replayed.
//
// # Bodies
//
// Bodies are JSON objects with a schema version in "v" and in the Event-Type
// header ("parsed/1"). The chunks of a document travel together, in packs of at
// most PackBytes, which a chunk that is larger by itself may exceed. Behind the JSON
// of a pack of vectors, and a line break, come the bytes of the embeddings. Within a version fields are only added, and unknown ones are
// tolerated, so that releases run side by side. A body of a newer version is set
// aside until a stage takes it that can read it. Whatever is malformed is a
// fault.Validation failure that names the field; decoding never panics.
package events
