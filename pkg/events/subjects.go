package events

import (
	"strings"
	"unicode/utf8"
)

// Streams, one a hand-off.
const (
	StreamDocuments  = "DOCUMENTS"
	StreamParsed     = "PARSED"
	StreamChunks     = "CHUNKS"
	StreamVectors    = "VECTORS"
	StreamUpgrades   = "UPGRADES" // what a fallback did, to be done again when its service is back
	StreamHeld       = "HELD"     // what a stage set aside until the thing that it waits for is there
	StreamEvents     = "EVENTS"
	StreamDeadLetter = "DEADLETTER"
	StreamCosts      = "COSTS"
)

// Subjects. Those ending in a dot are prefixes.
const (
	SubjectSubmit      = "docs.submit" // raw bytes; docs.submit.<file name> names the document
	SubjectURI         = "docs.uri"    // a Reference
	SubjectDelete      = "docs.delete" // a Deletion
	SubjectParsed      = "docs.parsed"
	SubjectChunks      = "docs.chunks"
	SubjectVectors     = "docs.vectors" // Vectors, or a Tombstone
	SubjectUpgrade     = "docs.upgrade" // Chunks that a fallback embedded
	SubjectReparse     = "docs.reparse" // a Reparse: a submission that a fallback parsed, or could not
	SubjectHeldPrefix  = "docs.held."   // docs.held.<stage>.<group>
	SubjectEventPrefix = "docs.event."
	SubjectDeadPrefix  = "docs.dead."
	SubjectUsagePrefix = "cost.usage."

	// Request-reply subjects, served by the stages as NATS micro endpoints.
	SubjectSearch = "sluice.search" // SearchRequest -> SearchReply, by the indexer
	SubjectEmbed  = "sluice.embed"  // EmbedRequest -> EmbedReply, by the embedder
)

// Key-value buckets and object stores.
const (
	BucketDocuments = "documents" // document ID -> Document
	BucketRetries   = "retries"   // failures of messages in flight
	BucketCache     = "cache"     // embeddings by content and fingerprint
	BucketJobs      = "jobs"      // jobs of services that work in the background, by content
	BucketClaims    = "claims"    // texts that somebody buys right now -> who does
	BucketPipeline  = "pipeline"  // stage -> its fingerprint
	BucketBudget    = "budget"    // limits, ledgers, leases; written by costd alone
	StoreInbox      = "inbox"     // objects put here are submitted
	StoreParses     = "parses"    // what parses that were paid for have brought
	StoreBlobs      = "blobs"     // bodies too large for a message
)

// Headers. The first block may be set by whoever submits a document.
const (
	HeaderCorrelationID = "Correlation-Id"
	HeaderTenant        = "Tenant"
	HeaderFilename      = "Filename" // wins over the subject; SetName and Name write and read it
	HeaderContentType   = "Content-Type"
	HeaderCharset       = "Charset"
	HeaderMetaPrefix    = "Meta-"         // kept with the document, returned by search
	HeaderReplySubject  = "Reply-Subject" // gets one Document when the document is final

	// HeaderReplayRevision keeps the revision of a submission that is replayed. It is
	// believed if it is not newer than the message that carries it.
	HeaderReplayRevision = "Replay-Revision"

	HeaderDocumentID  = "Document-Id"
	HeaderRevision    = "Revision"
	HeaderEventType   = "Event-Type"
	HeaderTraceparent = "traceparent"
	HeaderMsgID       = "Nats-Msg-Id"
	HeaderBlob        = "Blob-Ref" // the body is this object of the store "blobs"

	// On dead letters.
	HeaderFailureClass    = "Failure-Class"
	HeaderFailureReason   = "Failure-Reason"
	HeaderFailureMessage  = "Failure-Message"
	HeaderFailureHint     = "Failure-Hint"
	HeaderFailureAttempts = "Failure-Attempts"
	HeaderFailureStage    = "Failure-Stage"
	HeaderFailureTime     = "Failure-Time"
	HeaderFailureTrimmed  = "Failure-Trimmed" // headers that did not fit into the dead letter, by name
	HeaderOriginStream    = "Origin-Stream"
	HeaderOriginSeq       = "Origin-Seq"
	HeaderOriginSubject   = "Origin-Subject"
)

// Event types: the body's kind and schema version.
const (
	TypeReparse   = "reparse/1"
	TypeParsed    = "parsed/1"
	TypeChunks    = "chunks/1"
	TypeVectors   = "vectors/1"
	TypeTombstone = "tombstone/1"
	TypeEvent     = "event/1"
	TypeUsage     = "usage/1"
)

// EventSubject returns the subject of an event about a document.
func EventSubject(document string, what What) string {
	return SubjectEventPrefix + document + "." + string(what)
}

// SubmitName returns the file name that a submit subject carries:
// "docs.submit.report.pdf" is "report.pdf", "docs.submit" is "".
func SubmitName(subject string) string {
	name, ok := strings.CutPrefix(subject, SubjectSubmit+".")
	if !ok {
		return ""
	}
	return name
}

// CleanHeader makes s fit for a NATS header value, which cannot hold line
// breaks: control characters become spaces, invalid UTF-8 is replaced, and the
// result is cut to at most limit bytes on a rune boundary.
func CleanHeader(s string, limit int) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s))
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.TrimRight(s[:limit], " ")
}

// SafeReply returns the subject if a stranger may choose it for an answer: one
// that reaches neither the pipeline nor the server. Otherwise it returns "".
func SafeReply(subject string) string {
	for _, p := range []string{"docs.", "cost.", "sluice.", "budget.", "$"} {
		if strings.HasPrefix(subject, p) {
			return ""
		}
	}
	if subject == "" || len(subject) > 256 || strings.ContainsAny(subject, " \t\r\n*>") ||
		strings.HasPrefix(subject, ".") || strings.HasSuffix(subject, ".") || strings.Contains(subject, "..") {
		return ""
	}
	return subject
}
