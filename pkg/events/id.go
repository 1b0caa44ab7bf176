package events

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"time"
)

// DefaultTenant owns whatever is submitted without a Tenant header.
const DefaultTenant = "default"

// ValidTenant tells whether a tenant can be called so.
func ValidTenant(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// idBytes is the length of derived IDs: 128 bits, far beyond accidental
// collision for any corpus, in 32 characters of hex.
const idBytes = 16

// DocumentID derives the ID of a named document.
func DocumentID(tenant, name string) string { return derive("document", tenant, name) }

// ContentDocumentID derives the ID of a document without a name from the
// ContentHash of its bytes.
func ContentDocumentID(tenant, contentHash string) string {
	return derive("content", tenant, contentHash)
}

// ChunkID derives the ID of one chunk of a document. textHash is the
// ContentHash of the text that is embedded, fingerprint the pipeline's.
func ChunkID(document string, ordinal int, textHash, fingerprint string) string {
	return derive("chunk", document, strconv.Itoa(ordinal), textHash, fingerprint)
}

// Fingerprint condenses the settings that determine an output to 16 characters.
func Fingerprint(parts ...string) string {
	return derive(append([]string{"fingerprint"}, parts...)...)[:16]
}

// ContentHash returns the SHA-256 of b in hex.
func ContentHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TextHash is ContentHash of a string.
func TextHash(s string) string {
	h := sha256.New()
	writeString(h, s)
	return hex.EncodeToString(h.Sum(nil))
}

// derive hashes parts with their lengths, so that ("ab", "c") and ("a", "bc") differ.
func derive(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		writeString(h, strconv.Itoa(len(p))+":")
		writeString(h, p)
	}
	return hex.EncodeToString(h.Sum(nil)[:idBytes])
}

func writeString(h hash.Hash, s string) {
	_, _ = io.WriteString(h, s) // a hash never fails
}

// Revision orders what was ever made of a document; larger is newer. It is twice
// the clock of the submission (package clock: the time at which the server stored
// it, in microseconds since 1970), and one more once the parser that was meant
// has read it: what that parser makes comes after what a fallback made of the
// same submission, and before all that is submitted later. It stays below 2^53,
// which JSON readers of all languages keep exactly, until the year 2112.
type Revision uint64

// RevisionOf returns the revision of a submission that has not been read yet, or
// that a fallback has read.
func RevisionOf(clock uint64) Revision { return Revision(clock << 1) }

// Submission returns the clock of the submission. Whatever is made of one
// submission has the same.
func (r Revision) Submission() uint64 { return uint64(r >> 1) }

// Time returns when the submission was stored, as far as its clock is the time.
func (r Revision) Time() time.Time { return time.UnixMicro(int64(r >> 1)).UTC() }

// Base returns the revision of the same submission before anybody has read it.
func (r Revision) Base() Revision { return r &^ 1 }

// Whole returns the revision that the parser that was meant makes of the same
// submission.
func (r Revision) Whole() Revision { return r | 1 }

// IsWhole tells it from a fallback's.
func (r Revision) IsWhole() bool { return r&1 == 1 }

// String returns the revision in decimal, as in the Revision header.
func (r Revision) String() string { return strconv.FormatUint(uint64(r), 10) }

// ParseRevision is the inverse of Revision.String.
func ParseRevision(s string) (Revision, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	return Revision(n), err
}
