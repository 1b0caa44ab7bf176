// Package services is the list of Sluice's services: one line each. The
// all-in-one runs them, 'sluice apply' makes what they declare, and the commands
// and the tests of what deploys them know of no others.
package services

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/stage"
	"sluice/services/chunker"
	"sluice/services/costd"
	"sluice/services/embedder"
	"sluice/services/indexer"
	"sluice/services/parser"
	"sluice/services/parser/local"
)

// Options are those of all services. The tags are read by kong.
type Options struct {
	Runtime  stage.Settings  `embed:"" group:"Runtime:"`
	Parser   parser.Config   `embed:"" group:"Parser:"`
	Local    local.Config    `embed:"" group:"Parser:"`
	Chunker  chunker.Config  `embed:"" group:"Chunker:"`
	Routing  chunker.Routing `embed:"" group:"Chunker:"`
	Embedder embedder.Config `embed:"" group:"Embedder:"`
	Costd    costd.Config    `embed:"" group:"Budget:"`
	// Not embedded by kong: the index has another default place in each command.
	Indexer indexer.Config `kong:"-"`
}

// Service is a service and how its stages are made.
type Service struct {
	broker.Service
	Build func(ctx context.Context, env *stage.Env, o *Options) (stages []stage.Stage, stop func() error, err error)
}

// All returns the services in the order of the pipeline.
func All() []Service {
	return []Service{
		{parser.Service, func(ctx context.Context, env *stage.Env, o *Options) ([]stage.Stage, func() error, error) {
			return parser.StagesOf(ctx, env, o.Parser, o.Local)
		}},
		{chunker.Service, func(ctx context.Context, env *stage.Env, o *Options) ([]stage.Stage, func() error, error) {
			return chunker.Stages(ctx, env, o.Chunker, o.Routing)
		}},
		{embedder.Service, func(ctx context.Context, env *stage.Env, o *Options) ([]stage.Stage, func() error, error) {
			return embedder.Stages(ctx, env, o.Embedder)
		}},
		{indexer.Service, func(ctx context.Context, env *stage.Env, o *Options) ([]stage.Stage, func() error, error) {
			return indexer.Stages(ctx, env, o.Indexer)
		}},
		{costd.Service, func(ctx context.Context, env *stage.Env, o *Options) ([]stage.Stage, func() error, error) {
			return costd.Stages(ctx, env, o.Costd)
		}},
	}
}

// Declared returns the declarations of all services.
func Declared() []broker.Service {
	var all []broker.Service
	for _, s := range All() {
		all = append(all, s.Service)
	}
	return all
}

// Declared returns the declarations of all services as the options route them.
func (o *Options) Declared() []broker.Service {
	all := Declared()
	for i, s := range all {
		if s.Name == chunker.Name {
			all[i] = o.Routing.Declare()
		}
	}
	return all
}

// Names returns the names of all services.
func Names() []string {
	var all []string
	for _, s := range All() {
		all = append(all, s.Name)
	}
	return all
}

// Queues returns the work queues from which declared stages take, in the order of
// the pipeline.
func Queues() []string {
	work := map[string]bool{}
	for _, c := range broker.DefaultTopology().Streams(Declared()...) {
		work[c.Name] = c.Retention == jetstream.WorkQueuePolicy
	}
	var names []string
	needed, optional := Stages()
	for _, d := range append(needed, optional...) {
		if work[d.In.Stream] && !slices.Contains(names, d.In.Stream) {
			names = append(names, d.In.Stream)
		}
	}
	return names
}

// Stages returns the stages that every pipeline runs, in its order, and then
// those that are optional.
func Stages() (needed, optional []broker.Declaration) {
	for _, s := range All() {
		for _, d := range s.Stages {
			if d.Optional {
				optional = append(optional, d)
			} else {
				needed = append(needed, d)
			}
		}
	}
	return needed, optional
}
