package broker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

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

	streams  []string  // looked up when it starts
	durables []Durable // likewise
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

// subjectOwner is where owners of claims answer that they live, as in the embedder.
const subjectOwner = "sluice.owner.*"

// Users declares who may do what. Each service is a user, and its replicas are
// the same one.
func Users() []User {
	kv, store := "KV_", "OBJ_"

	parser := service("parser", "Reads submissions, publishes Markdown.")
	parser.stage("parser", events.Accepted, events.ParsedWhat, events.Superseded)
	parser.stage("inbox")
	parser.stage("reparser", events.ParsedWhat, events.Superseded)
	parser.fingerprint("parser")
	parser.publish(events.StreamParsed, events.SubjectParsed)
	parser.publish(events.StreamVectors, events.SubjectVector) // deletions and duplicates
	parser.publish(events.StreamDocuments, events.SubjectURI)  // what came through the inbox
	parser.publish(events.StreamUpgrades, events.SubjectReparse)
	parser.readKey(events.BucketDocuments, "*")
	parser.watchKey(events.BucketPipeline, "chunker")
	parser.watchKey(events.BucketPipeline, "embedder")
	parser.readObjects(events.StoreInbox)
	parser.removeObjects(events.StoreInbox)
	parser.readObjects(events.StoreBlobs) // what waits for a better parse
	parser.writeObjects(events.StoreBlobs)
	parser.pays("llamaparse", "parse", "parser")
	parser.readKey(events.BucketJobs, "*")
	parser.writeKey(events.BucketJobs, "*")
	parser.readObjects(events.StoreParses)
	parser.writeObjects(events.StoreParses)

	chunker := service("chunker", "Cuts Markdown into chunks.")
	chunker.stage("chunker", events.Chunked)
	chunker.fingerprint("chunker")
	chunker.publish(events.StreamChunks, events.SubjectChunk)
	chunker.readObjects(events.StoreBlobs)
	chunker.removeObjects(events.StoreBlobs)

	embedder := service("embedder", "Gives chunks their vectors.")
	embedder.stage("embedder", events.Embedded)
	embedder.stage("upgrader", events.Embedded)
	embedder.fingerprint("embedder")
	embedder.publish(events.StreamVectors, events.SubjectVector)
	embedder.publish(events.StreamUpgrades, events.SubjectUpgrade)
	embedder.readKey(events.BucketDocuments, "*")
	embedder.answer(events.SubjectEmbed)
	embedder.pays("openai", "embed", "embedder")
	embedder.readKey(events.BucketCache, "embedding.*.*")
	embedder.writeKey(events.BucketCache, "embedding.*.*")
	embedder.readKey(events.BucketClaims, "embedding.*.*")
	embedder.writeKey(events.BucketClaims, "embedding.*.*")
	embedder.watchKey(events.BucketClaims, "embedding.>") // while something waits for a claim
	embedder.may(subjectOwner)                            // whether a claim's owner lives
	embedder.hear(subjectOwner)
	// A configuration whose paid answers cannot be used halts all replicas that have it.
	embedder.readKey(events.BucketPipeline, "halt.embedder.*")
	embedder.writeKey(events.BucketPipeline, "halt.embedder.*")
	embedder.watchKey(events.BucketPipeline, "halt.embedder.*")

	indexer := service("indexer", "Makes documents searchable, and keeps their states.")
	indexer.stage("indexer", events.Indexed, events.Completed, events.Downgraded, events.Duplicated, events.Deleted, events.Superseded)
	indexer.stage("recorder")
	indexer.readKey(events.BucketDocuments, "*")
	indexer.writeKey(events.BucketDocuments, "*")
	indexer.answer(events.SubjectSearch)
	indexer.may(events.SubjectEmbed) // for the query's vector
	// Final states, for submitters that ask for them.
	indexer.may(InboxPrefix(UserInjector)+".>", InboxPrefix(UserOperator)+".>")

	costd := service("costd", "Grants what may be spent; the only writer of the budget.")
	costd.stage("costd")
	costd.readKey(events.BucketBudget, ">")
	costd.writeKey(events.BucketBudget, ">")
	costd.consumeAny(kv + events.BucketBudget) // reads all ledgers at once when it takes the lead
	costd.readKey(events.BucketPipeline, "budget.mark")
	costd.writeKey(events.BucketPipeline, "budget.mark")
	for _, s := range []string{events.StreamDocuments, events.StreamParsed, events.StreamChunks, events.StreamVectors, events.StreamUpgrades} {
		costd.look(s) // what autoscalers ask
	}
	costd.answer(subjectLease)
	costd.answer(subjectSet)
	costd.may(subjectWake, subjectIdle, subjectBudgetEvent)

	injector := person(UserInjector, "Submits documents, and hears what became of them.")
	injector.may(events.SubjectSubmit, events.SubjectSubmit+".>", events.SubjectURI)
	injector.look(store + events.StoreInbox)
	injector.may("$JS.API.DIRECT.GET."+store+events.StoreInbox+".$O."+events.StoreInbox+".M.*", // whether the name is taken
		"$O."+events.StoreInbox+".C.*", "$O."+events.StoreInbox+".M.*")

	operator := person(UserOperator, "The commands that look, submit, search, set the budget and care for dead letters.")
	for _, s := range (Topology{}).Streams() {
		operator.look(s.Name)
		operator.may("$JS.API.CONSUMER.INFO."+s.Name+".*", "$JS.API.CONSUMER.LIST."+s.Name, "$JS.API.STREAM.MSG.GET."+s.Name,
			"$JS.API.DIRECT.GET."+s.Name, "$JS.API.DIRECT.GET."+s.Name+".>")
	}
	for _, s := range []string{events.StreamEvents, events.StreamDeadLetter, events.StreamCosts, kv + events.BucketDocuments, kv + events.BucketPipeline, kv + events.BucketBudget} {
		operator.consumeAny(s)
	}
	// What is replayed goes where it came from. Bodies of dead letters, and inbox
	// objects of removed ones, go with them.
	operator.may("$JS.API.STREAM.MSG.DELETE." + events.StreamDeadLetter)
	operator.may("docs.>", events.SubjectUsagePrefix+">")
	for _, s := range []string{events.StoreInbox, events.StoreBlobs} {
		operator.readObjects(s)
		operator.writeObjects(s)
	}
	operator.writeKey(events.BucketPipeline, "mode.*")
	operator.writeKey(events.BucketRetries, ">")
	operator.may(subjectSet, events.SubjectSearch, events.SubjectEmbed, "$SRV.>", "sluice.health.>", "$JS.API.INFO")
	operator.hear(events.SubjectEventPrefix+">", events.SubjectDeadPrefix+">", events.SubjectUsagePrefix+">", subjectBudgetEvent)

	apply := person(UserApply, "Makes streams, consumers and buckets. Whoever may make consumers can read everything.")
	for _, s := range (Topology{}).Streams() {
		apply.look(s.Name)
		apply.may("$JS.API.STREAM.CREATE."+s.Name, "$JS.API.STREAM.UPDATE."+s.Name)
	}
	for _, d := range Durables() {
		apply.may("$JS.API.CONSUMER.INFO." + d.Stream + "." + d.Name)
		create := "$JS.API.CONSUMER.CREATE." + d.Stream + "." + d.Name
		if d.Subject != "" {
			create += "." + d.Subject
		}
		apply.may(create)
	}

	users := []User{*parser, *chunker, *embedder, *indexer, *costd, *injector, *operator, *apply}
	for i := range users {
		u := &users[i]
		for _, list := range []*[]string{&u.Publish, &u.Subscribe, &u.streams} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
	}
	return users
}

// uses returns the streams and consumers that a service looks up when it starts.
// A service of your own uses none of these.
func uses(service string) ([]string, []Durable) {
	for _, u := range Users() {
		if u.Name == service {
			return u.streams, u.durables
		}
	}
	return nil, nil
}

// person begins a user: it hears its own inbox.
func person(name, about string) *User {
	return &User{Name: name, About: about, Subscribe: []string{InboxPrefix(name) + ".>"}}
}

// service begins a user whose process answers 'nats micro'.
func service(name, about string) *User {
	u := person(name, about)
	u.Answers = true
	return u
}

func (u *User) may(subjects ...string)  { u.Publish = append(u.Publish, subjects...) }
func (u *User) hear(subjects ...string) { u.Subscribe = append(u.Subscribe, subjects...) }

// look allows to ask what a stream is. The client does before it uses a bucket.
func (u *User) look(stream string) {
	u.streams = append(u.streams, stream)
	u.may("$JS.API.STREAM.INFO." + stream)
}

// publish allows to add to a stream.
func (u *User) publish(stream, subject string) {
	u.look(stream)
	u.may(subject)
}

// stage allows what the runtime of a stage does, and the events that it tells.
// Observers tell none.
func (u *User) stage(name string, tells ...events.What) {
	for _, d := range Durables() {
		if d.Name == name {
			u.durables = append(u.durables, d)
			u.may("$JS.API.CONSUMER.INFO."+d.Stream+"."+name, "$JS.API.CONSUMER.MSG.NEXT."+d.Stream+"."+name)
			// The second form is the one that servers will use next: with their
			// domain and the account.
			u.may("$JS.ACK."+d.Stream+"."+name+".>", "$JS.ACK.*.*."+d.Stream+"."+name+".>")
		}
	}
	if len(tells) > 0 {
		for _, what := range append(tells, events.Held, events.Resumed, events.Retried, events.Failed) {
			u.publish(events.StreamEvents, events.SubjectEventPrefix+"*."+string(what))
		}
	}
	u.publish(events.StreamDeadLetter, events.SubjectDeadPrefix+name)
	u.setAside(name)
	u.readKey(events.BucketRetries, name+".>")
	u.writeKey(events.BucketRetries, name+".>")
	u.look("OBJ_" + events.StoreBlobs)
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		u.hear("$SRV."+verb, "$SRV."+verb+"."+name, "$SRV."+verb+"."+name+".*")
	}
	u.hear("sluice.health." + name)
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

func (u *User) answer(subject string) { u.hear(subject) }

// fingerprint allows a stage to say by which settings it works.
func (u *User) fingerprint(stage string) {
	u.readKey(events.BucketPipeline, stage)
	u.writeKey(events.BucketPipeline, stage)
}

// pays allows paid calls of a service: leases, usage events, the limiter that
// replicas share, and the mode that people set.
func (u *User) pays(service, operation, stage string) {
	u.publish(events.StreamCosts, events.UsageSubject(service, operation))
	u.may(subjectLease, "sluice.rate."+service)
	u.hear(subjectWake, subjectIdle, "sluice.rate."+service)
	u.watchKey(events.BucketBudget, "state.>")
	u.watchKey(events.BucketPipeline, "mode."+stage)
}

func (u *User) readKey(bucket, keys string) {
	u.look("KV_" + bucket)
	u.may("$JS.API.DIRECT.GET.KV_" + bucket + ".$KV." + bucket + "." + keys)
}

func (u *User) writeKey(bucket, keys string) {
	u.look("KV_" + bucket)
	u.may("$KV." + bucket + "." + keys)
}

// watchKey allows a consumer of exactly these keys, and nothing but these.
func (u *User) watchKey(bucket, keys string) {
	u.look("KV_" + bucket)
	u.consume("KV_"+bucket, "$KV."+bucket+"."+keys)
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

func (u *User) readObjects(store string) {
	u.look("OBJ_" + store)
	u.may("$JS.API.DIRECT.GET.OBJ_" + store + ".$O." + store + ".M.*")
	u.consume("OBJ_"+store, "$O."+store+".C.*")
}

func (u *User) writeObjects(store string) {
	u.may("$O." + store + ".C.*")
	u.may("$JS.API.DIRECT.GET.OBJ_" + store + ".$O." + store + ".M.*")
	u.removeObjects(store)
}

// removeObjects allows to remove objects: a marker in place of what is known of
// it, and a purge of its bytes. No right is narrower than purging the store.
func (u *User) removeObjects(store string) {
	u.look("OBJ_" + store)
	u.may("$O."+store+".M.*", "$JS.API.STREAM.PURGE.OBJ_"+store)
}

// ServerAuth returns what nats-server has to be told of the users: the block
// "authorization", for a file of its own that the server's configuration
// includes. keys has the public key of every user. Equal keys give equal text.
func ServerAuth(keys map[string]string) (string, error) {
	var b strings.Builder
	b.WriteString("# Made by 'sluice apply --print-nats-auth'. Nothing in here is secret.\n")
	b.WriteString("authorization {\n  users = [\n")
	list := func(indent, name string, subjects []string) {
		fmt.Fprintf(&b, "%s%s: { allow: [\n", indent, name)
		for _, s := range subjects {
			fmt.Fprintf(&b, "%s  %q\n", indent, s)
		}
		fmt.Fprintf(&b, "%s] }\n", indent)
	}
	for _, u := range Users() {
		key := keys[u.Name]
		if !nkeys.IsValidPublicUserKey(key) {
			return "", fmt.Errorf("the user %s has no public key", u.Name)
		}
		fmt.Fprintf(&b, "    # %s: %s\n    {\n      nkey: %s\n      permissions: {\n", u.Name, u.About, key)
		list("        ", "publish", u.Publish)
		list("        ", "subscribe", u.Subscribe)
		if u.Answers {
			// One for each service of the process: a question to all of them has one subject
			// for the answers, and the server counts these for the connection.
			b.WriteString("        allow_responses: { max: 16, expires: \"2m\" }\n")
		}
		b.WriteString("      }\n    }\n")
	}
	b.WriteString("  ]\n}\n")
	return b.String(), nil
}
