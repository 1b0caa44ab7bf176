package broker

import (
	"slices"

	"sluice/pkg/events"
)

// User is a NATS user with the rights that it needs, and no others. Subjects may
// have wildcards.
type User struct {
	Name      string
	About     string // for whoever reads the server's configuration
	Publish   []string
	Subscribe []string
	Answers   bool // it may answer requests, once each
}

// InboxPrefix returns the prefix of the subjects on which a user hears answers.
// Nobody else may listen there.
func InboxPrefix(user string) string { return "_INBOX_" + user }

// Names of users that are no services.
const (
	UserInjector = "injector" // submits documents
	UserOperator = "operator" // the commands of 'sluice' that look, submit and care
	UserApply    = "apply"    // 'sluice apply'
)

// Budget subjects, as in package budget, which imports this one.
const (
	subjectLease       = "budget.lease"
	subjectSet         = "budget.set"
	subjectWake        = "budget.wake"
	subjectIdle        = "budget.idle"
	subjectBudgetEvent = "budget.event.>"
)

// Users returns who may do what: each service is a user, whose replicas are the
// same one, and so are the people who submit, operate and apply.
func Users(services ...Service) []User {
	services = Compose(services...)
	var users []User
	for _, s := range services {
		users = append(users, s.user())
	}
	users = append(users, injector(), operator(services), applier(services))
	for i := range users {
		u := &users[i]
		for _, list := range []*[]string{&u.Publish, &u.Subscribe} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
	}
	return users
}

// user returns the service's NATS user.
func (s Service) user() User {
	u := person(s.Name, s.About)
	u.Answers = true // its process answers 'nats micro'
	for _, d := range (Topology{}).Streams(s) {
		u.look(d.Name)
	}
	for _, d := range s.Stages {
		u.stage(d)
	}
	for _, a := range s.Uses {
		u.access(a)
	}
	u.may(s.Asks...)
	u.hear(s.Hears...)
	if s.Surveys {
		u.may("$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.LIST.*")
	}
	return *u
}

// injector submits.
func injector() User {
	u := person(UserInjector, "Submits documents, and hears what became of them.")
	inbox := Access{Store: events.StoreInbox}.stream()
	u.may(events.SubjectSubmit, events.SubjectSubmit+".>", events.SubjectURI)
	u.look(inbox)
	u.may("$JS.API.DIRECT.GET."+inbox+".$O."+events.StoreInbox+".M.*", // whether the name is taken
		"$O."+events.StoreInbox+".C.*", "$O."+events.StoreInbox+".M.*")
	return *u
}

// operator uses the commands of 'sluice'.
func operator(services []Service) User {
	u := person(UserOperator, "The commands that look, submit, search, set the budget and care for dead letters.")
	for _, s := range (Topology{}).Streams(services...) {
		u.look(s.Name)
		u.may("$JS.API.CONSUMER.INFO."+s.Name+".*", "$JS.API.CONSUMER.LIST."+s.Name, "$JS.API.STREAM.MSG.GET."+s.Name,
			"$JS.API.DIRECT.GET."+s.Name, "$JS.API.DIRECT.GET."+s.Name+".>")
	}
	for _, s := range []string{events.StreamEvents, events.StreamDeadLetter, events.StreamCosts} {
		u.consumeAny(s)
	}
	for _, b := range []string{events.BucketDocuments, events.BucketPipeline, events.BucketBudget} {
		u.consumeAny(Access{Bucket: b}.stream())
	}
	// What is replayed goes where it came from. Bodies of dead letters, and inbox
	// objects of removed ones, go with them.
	u.may("$JS.API.STREAM.MSG.DELETE." + events.StreamDeadLetter)
	u.may("docs.>", events.SubjectUsagePrefix+">")
	for _, s := range services {
		for _, q := range s.Streams {
			if q.Kind == KindQueue {
				u.may(q.Subjects...)
			}
		}
	}
	for _, s := range []string{events.StoreInbox, events.StoreBlobs} {
		u.access(Access{Store: s, Read: true, Write: true})
	}
	u.access(Access{Bucket: events.BucketPipeline, Keys: "mode.*", Write: true})
	u.access(Access{Bucket: events.BucketRetries, Keys: ">", Write: true})
	u.may(subjectSet, events.SubjectSearch, events.SubjectEmbed, "$SRV.>", "sluice.health.>", "$JS.API.INFO", "$JS.API.STREAM.LIST")
	u.hear(events.SubjectEventPrefix+">", events.SubjectDeadPrefix+">", events.SubjectUsagePrefix+">", subjectBudgetEvent)
	return *u
}

// applier makes what is declared.
func applier(services []Service) User {
	u := person(UserApply, "Makes streams, consumers and buckets. Whoever may make consumers can read everything.")
	for _, s := range (Topology{}).Streams(services...) {
		u.look(s.Name)
		u.may("$JS.API.STREAM.CREATE."+s.Name, "$JS.API.STREAM.UPDATE."+s.Name)
	}
	for _, d := range Durables(services...) {
		u.may("$JS.API.CONSUMER.INFO."+d.Stream+"."+d.Name, "$JS.API.CONSUMER.LIST."+d.Stream)
		create := "$JS.API.CONSUMER.CREATE." + d.Stream + "." + d.Name
		if d.Subject != "" {
			create += "." + d.Subject
		}
		u.may(create)
		if d.Left != "" {
			u.may("$JS.API.CONSUMER.INFO."+d.Left+"."+d.Name, "$JS.API.CONSUMER.DELETE."+d.Left+"."+d.Name)
		}
	}
	return *u
}

// person begins a user: it hears its own inbox.
func person(name, about string) *User {
	return &User{Name: name, About: about, Subscribe: []string{InboxPrefix(name) + ".>"}}
}

func (u *User) may(subjects ...string)  { u.Publish = append(u.Publish, subjects...) }
func (u *User) hear(subjects ...string) { u.Subscribe = append(u.Subscribe, subjects...) }

// look allows to ask what a stream is. The client does before it uses a bucket.
func (u *User) look(stream string) { u.may("$JS.API.STREAM.INFO." + stream) }

// publish allows to add to a stream.
func (u *User) publish(stream, subject string) {
	u.look(stream)
	u.may(subject)
}

// stage allows what the runtime of a stage does, what the stage publishes, tells,
// answers and pays.
func (u *User) stage(s Declaration) {
	d := s.Durable()
	u.may("$JS.API.CONSUMER.INFO."+d.Stream+"."+d.Name, "$JS.API.CONSUMER.MSG.NEXT."+d.Stream+"."+d.Name)
	// The second form is the one that servers will use next: with their
	// domain and the account.
	u.may("$JS.ACK."+d.Stream+"."+d.Name+".>", "$JS.ACK.*.*."+d.Stream+"."+d.Name+".>")
	for _, out := range s.Out {
		u.publish(out.Stream, out.Subject)
	}
	if !s.Observer {
		for _, what := range append([]events.What{events.Held, events.Resumed, events.Retried, events.Failed}, s.Tells...) {
			u.publish(events.StreamEvents, events.SubjectEventPrefix+"*."+string(what))
		}
	}
	u.publish(events.StreamDeadLetter, events.SubjectDeadPrefix+s.Name)
	u.setAside(s.Name)
	u.access(Access{Bucket: events.BucketRetries, Keys: s.Name + ".>", Read: true, Write: true})
	u.look(Access{Store: events.StoreBlobs}.stream())
	if s.Fingerprinted {
		u.access(Access{Bucket: events.BucketPipeline, Keys: s.Name, Read: true, Write: true})
	}
	for _, p := range s.Pays {
		u.pays(p, s.Name)
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		u.hear("$SRV."+verb, "$SRV."+verb+"."+s.Name, "$SRV."+verb+"."+s.Name+".*")
	}
	u.hear("sluice.health." + s.Name)
	u.hear(s.Answers...)
}

// setAside allows a stage to put messages into HELD and to take them back: by
// consumers that it makes when it needs them, also if it may make no others. The
// subject of the request names the filter, so these see the stage's own messages
// only. The name of a consumer is one token, of which a right cannot ask for a
// part: what is done with a consumer that exists is allowed for any name.
func (u *User) setAside(stage string) {
	held := events.StreamHeld
	u.publish(held, events.SubjectHeldPrefix+stage+".*")
	u.may("$JS.API.CONSUMER.CREATE."+held+".*."+events.SubjectHeldPrefix+stage+".*",
		"$JS.API.CONSUMER.INFO."+held+".*", "$JS.API.CONSUMER.DELETE."+held+".*", "$JS.API.CONSUMER.MSG.NEXT."+held+".*",
		"$JS.ACK."+held+".*.>", "$JS.ACK.*.*."+held+".*.>")
}

// pays allows paid calls of a service: leases, usage events, the limiter that
// replicas share, and the mode that people set.
func (u *User) pays(p Payment, stage string) {
	u.publish(events.StreamCosts, events.UsageSubject(p.Service, p.Operation))
	u.may(subjectLease, "sluice.rate."+p.Service)
	u.hear(subjectWake, subjectIdle, "sluice.rate."+p.Service)
	u.access(Access{Bucket: events.BucketBudget, Keys: "state.>", Watch: true})
	u.access(Access{Bucket: events.BucketPipeline, Keys: "mode." + stage, Watch: true})
}

// access allows what is done in a bucket or an object store.
func (u *User) access(a Access) {
	stream := a.stream()
	u.look(stream)
	if a.Store != "" {
		u.objects(a)
		return
	}
	subject := "$KV." + a.Bucket + "." + a.Keys
	if a.Read {
		u.may("$JS.API.DIRECT.GET." + stream + "." + subject)
	}
	if a.Write {
		u.may(subject)
	}
	if a.Watch {
		u.consume(stream, subject) // exactly these keys, and nothing but these
	}
	if a.Scan {
		u.consumeAny(stream)
	}
}

// objects allows what is done in an object store. Removing leaves a marker in
// place of what is known of the object, and purges its bytes: no right is narrower
// than purging the store.
func (u *User) objects(a Access) {
	stream, subject := a.stream(), "$O."+a.Store
	if a.Read {
		u.consume(stream, subject+".C.*")
	}
	if a.Read || a.Write {
		u.may("$JS.API.DIRECT.GET." + stream + "." + subject + ".M.*")
	}
	if a.Write {
		u.may(subject + ".C.*")
	}
	if a.Write || a.Remove {
		u.may(subject+".M.*", "$JS.API.STREAM.PURGE."+stream)
	}
}

// consume allows consumers of a process's own on a subject of a stream.
func (u *User) consume(stream, subject string) {
	u.may("$JS.API.CONSUMER.CREATE."+stream+".*."+subject, "$JS.API.CONSUMER.DELETE."+stream+".*",
		"$JS.FC."+stream+".>", "$JS.FC.*.*."+stream+".>")
}

// consumeAny allows consumers of all of a stream.
func (u *User) consumeAny(stream string) {
	u.may("$JS.API.CONSUMER.CREATE."+stream, "$JS.API.CONSUMER.CREATE."+stream+".*", "$JS.API.CONSUMER.MSG.NEXT."+stream+".*", "$JS.API.CONSUMER.INFO."+stream+".*")
	u.consume(stream, ">")
}
