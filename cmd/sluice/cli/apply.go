package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/fault"
)

// ApplyCmd makes what the stages need on a NATS server.
type ApplyCmd struct {
	Replicas    int           `env:"SLUICE_REPLICAS" default:"1" help:"Replicas of streams and buckets. Fewer than there are is never applied." placeholder:"N" group:"Topology:"`
	MaxBytes    int64         `name:"stream-max-bytes" env:"SLUICE_STREAM_MAX_BYTES" default:"4294967296" help:"Bytes of each hand-off stream, if it does not exist yet." placeholder:"BYTES" group:"Topology:"`
	AckWait     time.Duration `env:"SLUICE_ACK_WAIT" default:"30s" help:"Have a message delivered again whose process has been silent for this long." placeholder:"TIME" group:"Topology:"`
	MaxInFlight int           `env:"SLUICE_MAX_IN_FLIGHT" default:"20000" help:"Messages delivered and not yet acknowledged, over all replicas of a stage." placeholder:"N" group:"Topology:"`
	With        []string      `type:"existingfile" sep:"none" help:"Also the service that this file declares: what '--declaration' of its binary prints. May be given several times." placeholder:"FILE" group:"Topology:"`
	DryRun      bool          `help:"Only say what would be done."`
	Wait        time.Duration `default:"1m" help:"Time for a server, or a cluster without a leader, to come up." placeholder:"TIME"`

	Keys  string `name:"nats-keys" type:"path" help:"Make the NKEY seeds of all users in this directory, unless they are there, and print the public keys. Connects to nothing." placeholder:"DIR" group:"Users:"`
	Print bool   `name:"print-nats-auth" help:"Print the configuration for nats-server that gives each user its rights. Needs --nats-keys; connects to nothing." group:"Users:"`

	Online
}

// Help is shown by --help.
func (ApplyCmd) Help() string {
	return examples("Makes the streams, consumers, buckets and object stores that the stages use, and adds what an older release did not know. "+
		"Run it as often as you like, from as many places as you like: nothing is ever removed or shrunk, and sizes that somebody has set stay. "+
		"Stages that are started with --topology bind then need no right to make anything. "+
		"A service of your own is applied with the others, and gets a user, if --with names its declaration. "+
		"With --nats-keys it writes down who may do what: a NATS user for each service, for submitters, operators and itself.",
		"sluice apply --replicas 3", "On a cluster of three",
		"sluice apply --dry-run", "See first what would be done",
		"redactor --declaration > redactor.json && sluice apply --with redactor.json", "Also for a service of your own",
		"sluice apply --nats-keys ./keys --print-nats-auth > auth.conf", "Make the users' keys, and the server's configuration of their rights",
		"sluice apply --nats-nkey keys/apply.nk --nats-inbox-prefix _INBOX_apply", "Apply as the user that may")
}

// Run applies, or writes keys and rights.
func (cmd ApplyCmd) Run(ctx context.Context, o *output) error {
	if cmd.Keys != "" || cmd.Print {
		return cmd.users(o)
	}
	all, err := cmd.services()
	if err != nil {
		return err
	}
	if cmd.Replicas < 1 || cmd.Replicas > 5 || cmd.MaxBytes < 1 || cmd.AckWait < time.Second || cmd.MaxInFlight < 1 {
		return usagef("use 1 to 5 replicas, and at least 1 byte, 1s and 1 message", "the topology cannot be made")
	}
	t := broker.Topology{Replicas: cmd.Replicas, MaxBytes: cmd.MaxBytes, AckWait: cmd.AckWait, MaxInFlight: cmd.MaxInFlight}
	// The results of the tries are one: what an earlier try made is created,
	// though the last one finds it there.
	var changes []broker.Change
	first := map[string]broker.Change{}
	waiting, cancel := context.WithTimeout(ctx, cmd.Wait)
	defer cancel()
	for told := false; ; told = true {
		changes, err = cmd.try(waiting, t, all)
		for i, c := range changes {
			if was, ok := first[c.Kind+c.Name]; ok && was.Outcome != broker.Unchanged && c.Outcome == broker.Unchanged {
				changes[i] = was
			} else {
				first[c.Kind+c.Name] = c
			}
		}
		if err == nil || fault.Of(err) == fault.Halt || waiting.Err() != nil {
			break
		}
		if !told {
			o.notef("not yet: %v; trying again for %v", err, cmd.Wait)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-waiting.Done():
		}
	}
	if perr := cmd.report(o, changes); perr != nil {
		return perr
	}
	var f *fault.Error
	if err != nil && !errors.As(err, &f) {
		return fault.Wrap(err, fault.Unavailable, "not-applied", "not everything is applied").
			WithHint("see whether the NATS servers are up and have a leader, and that the user is 'apply'; then run it again")
	}
	return err
}

// services returns what is declared, here and in the files.
func (cmd ApplyCmd) services() ([]broker.Service, error) {
	all := services.Declared()
	for _, path := range cmd.With {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.Wrap(err, fault.Halt, "declaration", "cannot read the declaration %s", path).WithHint("name a file that this process may read")
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields() // a mistake in a right must not pass as no right
		var s broker.Service
		if err := d.Decode(&s); err != nil {
			return nil, fault.Wrap(err, fault.Halt, "declaration", "%s declares no service", path).WithHint("make it with the flag --declaration of the service's binary, of this release")
		}
		all = append(all, s)
	}
	return all, broker.Check(all...)
}

func (cmd ApplyCmd) try(ctx context.Context, t broker.Topology, all []broker.Service) ([]broker.Change, error) {
	c, err := cmd.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return broker.Apply(ctx, c.js, t, cmd.DryRun, all...)
}

func (cmd ApplyCmd) report(o *output, changes []broker.Change) error {
	if o.json {
		return printLines(o, changes)
	}
	rows := make([][]string, 0, len(changes))
	for _, c := range changes {
		rows = append(rows, []string{c.Kind, c.Name, string(c.Outcome), c.Detail})
	}
	o.table([]column{{title: "KIND"}, {title: "NAME"}, {title: "OUTCOME", paint: func(cell string) style {
		switch broker.Outcome(cell) {
		case broker.Created, broker.Updated:
			return good
		case broker.Refused:
			return bad
		}
		return style{}
	}}, {title: "DETAIL"}}, rows)
	if cmd.DryRun {
		o.notef("nothing was done: a dry run")
	}
	return nil
}

// users makes the keys, and prints them or the rights.
func (cmd ApplyCmd) users(o *output) error {
	if cmd.Keys == "" {
		return usagef("add --nats-keys DIR; seeds that are missing are made there", "--print-nats-auth needs the users' keys")
	}
	all, err := cmd.services()
	if err != nil {
		return err
	}
	users := broker.Users(all...)
	public, made, err := broker.Keys(cmd.Keys, users)
	if err != nil {
		return err
	}
	if cmd.Print {
		if len(made) > 0 {
			o.notef("new seeds in %s: %s", cmd.Keys, strings.Join(made, ", "))
		}
		text, err := broker.ServerAuth(users, public)
		if err != nil {
			return err
		}
		if o.json {
			return o.line(map[string]string{"nats_auth": text})
		}
		o.printf("%s", text)
		return nil
	}
	type row struct {
		User   string `json:"user"`
		Public string `json:"public_key"`
		Inbox  string `json:"inbox_prefix"`
		Made   bool   `json:"made"`
	}
	var rows []row
	for _, u := range users {
		rows = append(rows, row{u.Name, public[u.Name], broker.InboxPrefix(u.Name), slices.Contains(made, u.Name)})
	}
	if o.json {
		return printLines(o, rows)
	}
	cells := make([][]string, 0, len(rows))
	for _, r := range rows {
		seed := "kept"
		if r.Made {
			seed = "made"
		}
		cells = append(cells, []string{r.User, r.Public, r.Inbox, seed})
	}
	o.table([]column{{title: "USER"}, {title: "PUBLIC KEY"}, {title: "INBOX PREFIX"}, {title: "SEED"}}, cells)
	o.notef("the seeds are in %s; they are secret", cmd.Keys)
	return nil
}
