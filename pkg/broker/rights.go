package broker

import "sluice/pkg/events"

// uses returns the streams that a service looks up when it starts. A service of
// your own uses none of these.
func uses(service string) []string {
	kv := func(names ...string) (s []string) {
		for _, n := range names {
			s = append(s, "KV_"+n)
		}
		return s
	}
	every := append(kv(events.BucketRetries, events.BucketPipeline), "OBJ_"+events.StoreBlobs, events.StreamDeadLetter)
	switch service {
	case "parser":
		return append(append(every, kv(events.BucketDocuments)...), "OBJ_"+events.StoreInbox, events.StreamDocuments, events.StreamParsed, events.StreamVectors, events.StreamEvents)
	case "chunker":
		return append(every, events.StreamParsed, events.StreamChunks, events.StreamEvents)
	case "embedder":
		return append(every, events.StreamChunks, events.StreamVectors, events.StreamEvents)
	case "indexer":
		return append(append(every, kv(events.BucketDocuments)...), events.StreamVectors, events.StreamEvents)
	case "costd":
		return append(append(every, kv(events.BucketBudget)...), events.StreamCosts)
	}
	return nil
}
