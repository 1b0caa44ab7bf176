package parser

import (
	"fmt"
	"net/textproto"
	"slices"
	"sort"
	"strings"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// spoken are the headers of a submitter that the parser reads. NATS keeps the
// case of a header's name, and people write it as they like.
var spoken = []string{
	events.HeaderCorrelationID, events.HeaderTenant, events.HeaderFilename, events.HeaderFilenameExt,
	events.HeaderContentType, events.HeaderCharset, events.HeaderReplySubject,
}

// spell gives the submitter's headers the names by which they are read. It
// returns the fault of a header that is there twice with different values, and
// leaves that one as it is: nobody can tell which one is meant. A name that cannot
// be read is refused, too: different ones would be one document.
func spell(h nats.Header) (refused *fault.Error) {
	names := make([]string, 0, len(h))
	for k := range h {
		names = append(names, k)
	}
	sort.Strings(names) // so that the fault is always the same
	found := map[string][]string{}
	spelt := map[string][]string{}
	for _, k := range names {
		name := canonical(k)
		if name == "" {
			continue
		}
		spelt[name] = append(spelt[name], k)
		for _, v := range h[k] {
			if v != "" && !slices.Contains(found[name], v) {
				found[name] = append(found[name], v)
			}
		}
	}
	for _, k := range names {
		name := canonical(k)
		switch values := found[name]; {
		case name == "":
		case len(values) > 1:
			if refused == nil {
				refused = fault.Invalid("bad-header", "the header %s is there twice, as %s, with different values", name, strings.Join(quoted(spelt[name]), " and ")).
					WithHint("send it once; the case of its name does not matter")
			}
		default:
			delete(h, k)
			if len(values) == 1 {
				h[name] = values
			}
		}
	}
	if lost := events.NameLost(h); lost != "" && refused == nil {
		refused = fault.Invalid("bad-header", "the header %s, %q, cannot be read, and nothing else gives the name", events.HeaderFilenameExt, events.CleanHeader(lost, 64)).
			WithHint("write it as in UTF-8''%%20lead.txt, or send %s", events.HeaderFilename)
	}
	return refused
}

// canonical returns the name of a submitter's header as it is read, "" for one that
// is not read.
func canonical(k string) string {
	for _, name := range spoken {
		if strings.EqualFold(k, name) {
			return name
		}
	}
	if p := len(events.HeaderMetaPrefix); len(k) > p && strings.EqualFold(k[:p], events.HeaderMetaPrefix) {
		return events.HeaderMetaPrefix + textproto.CanonicalMIMEHeaderKey(k[p:])
	}
	return ""
}

func quoted(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = fmt.Sprintf("%q", events.CleanHeader(s, 64))
	}
	return out
}

// metadata returns the Meta- headers without their prefix. The headers are spelt.
func metadata(h nats.Header) (map[string]string, error) {
	var meta map[string]string
	size := 0
	for k, v := range h {
		name, ok := strings.CutPrefix(k, events.HeaderMetaPrefix)
		if !ok || name == "" || len(v) == 0 {
			continue
		}
		if meta == nil {
			meta = map[string]string{}
		}
		meta[name] = events.CleanHeader(v[0], maxMetaLen)
		size += len(k) + len(v[0])
	}
	if len(meta) > maxMeta || size > maxMetaLen {
		return nil, fault.Invalid("bad-header", "%d Meta- headers of %d bytes are too many: at most %d and %d bytes", len(meta), size, maxMeta, maxMetaLen).
			WithHint("send fewer or shorter Meta- headers")
	}
	return meta, nil
}
