package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// serve registers the stage as a NATS micro service with its endpoints.
func (r *runner) serve() (micro.Service, error) {
	metadata := map[string]string{"fingerprint": r.stage.Fingerprint, "stream": r.stage.In.Stream}
	maps.Copy(metadata, r.stage.Metadata)
	svc, err := micro.AddService(r.env.Conn, micro.Config{
		Name: r.stage.Name, Version: r.env.Version, Description: "Sluice " + r.stage.Name,
		Metadata:     metadata,
		StatsHandler: func(*micro.Endpoint) any { return r.env.Health.Stage(r.stage.Name) },
	})
	if err != nil {
		return nil, fmt.Errorf("register the service: %w", err)
	}
	// Its statistics carry the health of stages that answer nothing else.
	health := Endpoint{Name: "health", Subject: "sluice.health." + r.stage.Name, Handle: func(context.Context, []byte) (any, error) {
		return r.env.Health.Stage(r.stage.Name), nil
	}}
	for _, e := range append([]Endpoint{health}, r.stage.Endpoints...) {
		slots := make(chan struct{}, 16)
		err := svc.AddEndpoint(e.Name, micro.HandlerFunc(func(req micro.Request) {
			if req.Reply() == "" {
				return // nobody would hear the answer
			}
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				// Not by req: micro keeps its statistics in there, and reads them
				// as soon as this handler has returned.
				answer := nats.NewMsg(req.Reply())
				reply, err := e.answer(r.working, req.Data())
				if answer.Data = reply; err != nil {
					f := fault.From(err)
					answer.Header.Set(micro.ErrorHeader, events.CleanHeader(f.Message, 500))
					answer.Header.Set(micro.ErrorCodeHeader, f.Class.String())
				}
				if err := r.env.Conn.PublishMsg(answer); err != nil {
					r.log.Warn().Err(err).Str("endpoint", e.Name).Msg("answering")
				}
			}()
		}), micro.WithEndpointSubject(e.Subject))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("add the endpoint %s: %w", e.Name, err), svc.Stop())
		}
	}
	return svc, nil
}

// answer runs an endpoint's function, so that neither a panic nor an error is
// ever silence on the other side.
func (e Endpoint) answer(ctx context.Context, request []byte) (reply []byte, err error) {
	defer recovered(&err)
	v, err := e.Handle(ctx, request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
