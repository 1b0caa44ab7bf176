package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestATraceOfADocumentHasAllStages(t *testing.T) {
	var mu sync.Mutex
	var spans []*otlp.Span
	service := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("the collector got %s: %v", r.URL.Path, err)
			http.Error(w, "malformed", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range request.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, ss := range rs.ScopeSpans {
				spans = append(spans, ss.Spans...)
			}
		}
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)

	node := start(t, nil)
	in(t, map[string]string{"note.md": "# Note\n\nThe gate opens at six."})
	sluice(t, "ingest", "--nats-url", node.URL, "--correlation", "trace-me", "note.md").want(t, 0)
	if err := node.Stop(); err != nil { // sends what is left
		t.Fatal(err)
	}

	mu.Lock()
	defer mu.Unlock()
	if service != "sluice-up" {
		t.Errorf("service.name is %q", service)
	}
	var stages []string
	parents := map[string]bool{}
	for _, s := range spans {
		stages = append(stages, s.Name)
		parents[string(s.SpanId)] = true
		if string(s.TraceId) != string(spans[0].TraceId) {
			t.Errorf("the span of the %s belongs to another trace", s.Name)
		}
		if got := attributes(s)["sluice.correlation_id"]; got != "trace-me" {
			t.Errorf("the span of the %s has the correlation ID %q", s.Name, got)
		}
	}
	slices.Sort(stages)
	if want := []string{"chunker", "embedder", "indexer", "parser"}; !slices.Equal(stages, want) {
		t.Fatalf("spans of %v, want %v", stages, want)
	}
	for _, s := range spans {
		if root := s.Name == "parser"; root != (len(s.ParentSpanId) == 0) || !root && !parents[string(s.ParentSpanId)] {
			t.Errorf("the span of the %s has the parent %x", s.Name, s.ParentSpanId)
		}
	}
}

func attributes(s *otlp.Span) map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes {
		all[a.Key] = a.Value.GetStringValue()
	}
	return all
}
