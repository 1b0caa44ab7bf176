package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Service is the declaration of a binary: the stages that it runs, and all that
// they use of NATS. It stands beside the code of the stages, and it is the one
// place where these things are named: the streams and consumers that are made,
// the rights of the service's NATS user, and what the commands and manifests know
// of it, follow from it.
//
// It is plain data, so that a service outside this tree can hand its own to
// 'sluice apply --with'.
type Service struct {
	Name   string        `json:"name"` // of the binary and of the NATS user
	About  string        `json:"about"`
	Stages []Declaration `json:"stages"`
	// Streams are those that the vocabulary does not have.
	Streams []Stream `json:"streams,omitempty"`
	// Uses are the buckets and object stores, besides those that every stage uses.
	Uses []Access `json:"uses,omitempty"`
	// Asks are subjects of other services' endpoints, and others that it publishes on
	// without a stream. Hears are those that it listens to.
	Asks  []string `json:"asks,omitempty"`
	Hears []string `json:"hears,omitempty"`
	// Feeds has stages of other services take their work from a queue of this one,
	// by the stage's name: a service that stands in front of them.
	Feeds map[string]string `json:"feeds,omitempty"`
	// Surveys tells that it asks what streams and consumers there are, and how full
	// they are.
	Surveys bool `json:"surveys,omitempty"`
}

// Route is a subject of a stream.
type Route struct {
	Stream  string `json:"stream"`
	Subject string `json:"subject,omitempty"` // may have wildcards; empty = all of the stream
}

// Declaration declares a stage.
type Declaration struct {
	// Name is one word and the same everywhere: durable consumer, metric
	// label, dead-letter subject, micro service.
	Name string `json:"name"`
	// In is where messages come from: they are pulled by a consumer that all
	// replicas share.
	In  Route   `json:"in"`
	Out []Route `json:"out,omitempty"` // where it publishes to
	// Tells are the events of documents that it tells, besides those of the runtime.
	Tells   []events.What `json:"tells,omitempty"`
	Answers []string      `json:"answers,omitempty"` // request subjects that it serves
	Pays    []Payment     `json:"pays,omitempty"`
	// Observer marks a stage that looks on (at EVENTS): it tells no events of its
	// own, or it would feed itself.
	Observer bool `json:"observer,omitempty"`
	// Fingerprinted tells that the stage says by which settings it works.
	Fingerprinted bool `json:"fingerprinted,omitempty"`
	// Optional marks a stage without which documents become searchable all the same.
	Optional bool `json:"optional,omitempty"`

	left string // the stream that it took its work from before it was fed by another one
}

// Payment is a paid operation of a service outside.
type Payment struct {
	Service   string `json:"service"`
	Operation string `json:"operation"`
}

// Access is what a service does in a bucket or an object store.
type Access struct {
	Bucket string `json:"bucket,omitempty"` // of keys and values, or
	Store  string `json:"store,omitempty"`  // of objects
	Keys   string `json:"keys,omitempty"`   // of the bucket, with wildcards
	Read   bool   `json:"read,omitempty"`
	Write  bool   `json:"write,omitempty"`
	Watch  bool   `json:"watch,omitempty"`  // hears of changes of these keys
	Scan   bool   `json:"scan,omitempty"`   // reads all of the bucket at once
	Remove bool   `json:"remove,omitempty"` // objects
}

// stream returns the name of the stream behind a bucket or store.
func (a Access) stream() string {
	if a.Bucket != "" {
		return "KV_" + a.Bucket
	}
	return "OBJ_" + a.Store
}

// Stage returns the declaration of a stage. One that is not declared is a mistake
// in the program.
func (s Service) Stage(name string) Declaration {
	for _, d := range s.Stages {
		if d.Name == name {
			return d
		}
	}
	panic(fmt.Sprintf("the service %s declares no stage %s", s.Name, name))
}

// pays tells whether a stage of the service pays anything.
func (s Service) pays() bool {
	return slices.ContainsFunc(s.Stages, func(d Declaration) bool { return len(d.Pays) > 0 })
}

// uses returns the streams that the service uses, those of every stage excepted.
func (s Service) uses() map[string]bool {
	used := map[string]bool{}
	for _, d := range s.Stages {
		used[d.In.Stream] = true
		for _, out := range d.Out {
			used[out.Stream] = true
		}
	}
	for _, a := range s.Uses {
		used[a.stream()] = true
	}
	if s.pays() {
		used["KV_"+events.BucketBudget], used[events.StreamCosts] = true, true
	}
	for _, d := range s.Streams {
		used[d.Stream()] = true
	}
	return used
}

// Check names the first thing that is wrong with declarations taken together.
func Check(services ...Service) error {
	defined := map[string]bool{}
	for _, d := range Vocabulary() {
		defined[d.Stream()] = true
	}
	for _, s := range services {
		for _, d := range s.Streams {
			if d.filled() {
				continue // its definition is another service's
			}
			if defined[d.Stream()] {
				return wrong("the service %s declares the stream %s, which exists already", s.Name, d.Stream())
			}
			defined[d.Stream()] = true
		}
	}
	for _, s := range services {
		for _, d := range s.Streams {
			defined[d.Stream()] = true
		}
	}
	users, stages := map[string]bool{UserInjector: true, UserOperator: true, UserApply: true}, map[string]bool{}
	for _, s := range services {
		if !word(s.Name) || users[s.Name] {
			return wrong("a service cannot be called %q, or there are two of them", s.Name)
		}
		users[s.Name] = true
		for _, d := range s.Stages {
			if !word(d.Name) || stages[d.Name] {
				return wrong("a stage of the service %s cannot be called %q, or there are two of them", s.Name, d.Name)
			}
			stages[d.Name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(s.uses())) {
			if !defined[name] {
				return wrong("the service %s uses the stream %s, which nothing declares", s.Name, name)
			}
		}
		for _, stage := range slices.Sorted(maps.Keys(s.Feeds)) {
			if !slices.ContainsFunc(s.Streams, func(d Stream) bool { return d.Name == s.Feeds[stage] && d.Kind == KindQueue }) {
				return wrong("the service %s feeds %s from %s, which is no queue of its own", s.Name, stage, s.Feeds[stage])
			}
		}
	}
	return nil
}

func wrong(format string, args ...any) error {
	return fault.New(fault.Halt, "declaration", format, args...).WithHint("correct the service's declaration")
}

// word tells whether a name fits into subjects, consumers and metrics.
func word(name string) bool {
	return name != "" && len(name) <= 32 && strings.IndexFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}) < 0
}

// From returns the service with another queue, of another service, as the input of
// a stage.
func (s Service) From(stage, queue string) Service {
	s.Stages = slices.Clone(s.Stages)
	for i, d := range s.Stages {
		if d.Name == stage && d.In.Stream != queue {
			s.Stages[i] = d.From(queue)
			s.Streams = append(slices.Clone(s.Streams), Queue(queue))
		}
	}
	return s
}

// Compose returns the services as they work together: a stage that another one
// feeds takes its work from there.
func Compose(services ...Service) []Service {
	all := slices.Clone(services)
	for _, feeder := range services {
		for stage, queue := range feeder.Feeds {
			for i, s := range all {
				all[i] = s.From(stage, queue)
			}
		}
	}
	return all
}

// From returns the declaration with another queue as its input. The stage gives
// the consumer up that it had on the one before: two stages cannot take the same
// work.
func (d Declaration) From(queue string) Declaration {
	if d.In.Stream != queue {
		d.left, d.In = d.In.Stream, Route{Stream: queue}
	}
	return d
}

// Durable returns the consumer that all replicas of the stage share.
func (d Declaration) Durable() Durable {
	return Durable{Name: d.Name, Stream: d.In.Stream, Subject: d.In.Subject, Left: d.left}
}

// Durables returns the consumers of all stages.
func Durables(services ...Service) []Durable {
	var all []Durable
	for _, s := range services {
		for _, d := range s.Stages {
			all = append(all, d.Durable())
		}
	}
	return all
}
