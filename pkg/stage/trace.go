package stage

import (
	"cmp"
	"context"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Trace has env export a span for every attempt at a message, if the standard
// OTEL_* variables name a collector; otherwise it does nothing. The stages of a
// document continue one trace over NATS. stop sends what is left.
func Trace(ctx context.Context, env *Env, process string) (stop func() error, err error) {
	endpoint := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	if endpoint == "" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return func() error { return nil }, nil
	}
	protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	if protocol != "http/protobuf" {
		return nil, fault.New(fault.Halt, "configuration", "traces cannot be exported over %q", events.CleanHeader(protocol, 32)).
			WithHint("set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf; collectors listen for it on port 4318")
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "traces cannot be exported").WithHint("check the OTEL_* variables")
	}
	// Later options win: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES do.
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "sluice-"+process), attribute.String("service.version", env.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "OTEL_RESOURCE_ATTRIBUTES is malformed").WithHint("use key=value,key=value")
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { env.Log.Warn().Err(err).Msg("exporting traces") }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	env.Tracer = provider.Tracer("sluice/pkg/stage")
	return func() error {
		// Not ctx: it has ended by the time there is something left to send.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return provider.Shutdown(ctx)
	}, nil
}

var traceContext propagation.TraceContext

// headerCarrier reads and writes NATS headers, whose keys have a case.
type headerCarrier nats.Header

func (h headerCarrier) Get(key string) string { return nats.Header(h).Get(key) }
func (h headerCarrier) Set(key, value string) { nats.Header(h).Set(key, value) }
func (h headerCarrier) Keys() []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	return keys
}

// startSpan begins an attempt. Observers only retell what others did.
func (r *shared) startSpan(m *Message, batch int) {
	if r.env.Tracer == nil || r.stage.Observer {
		return
	}
	parent := traceContext.Extract(context.Background(), headerCarrier(m.Header))
	_, m.span = r.env.Tracer.Start(parent, r.stage.Name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.destination.name", m.Subject),
		attribute.Int("messaging.batch.message_count", batch),
		attribute.Int("sluice.attempt", m.Attempt),
	))
}

// endSpan ends an attempt. Only now is it known whom the message was about:
// the first stage finds out while it works.
func (m *Message) endSpan() {
	if m.span == nil {
		return
	}
	m.span.SetAttributes(
		attribute.String("sluice.correlation_id", m.CorrelationID),
		attribute.String("sluice.document", m.Document),
		attribute.String("sluice.revision", m.Revision.String()),
		attribute.String("sluice.tenant", m.Tenant),
	)
	if m.err != nil {
		f := fault.From(m.err)
		m.span.SetAttributes(attribute.String("error.type", f.Class.String()), attribute.String("sluice.reason", f.Reason))
		m.span.SetStatus(codes.Error, f.Message)
	}
	m.span.End()
}

// traceparent returns the header value that what m causes carries on.
func (m *Message) traceparent() string {
	if m.span == nil {
		return events.CleanHeader(m.Header.Get(events.HeaderTraceparent), 64)
	}
	h := headerCarrier{}
	traceContext.Inject(trace.ContextWithSpan(context.Background(), m.span), h)
	return h.Get(events.HeaderTraceparent)
}
