package cli

import (
	"net"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"sluice/cmd/sluice/services"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/parser"
)

// Whatever listens does so on this machine alone, unless told otherwise.
func TestListenersAreLocal(t *testing.T) {
	r := &root{}
	commands, err := newParser(r, Streams{})
	if err != nil {
		t.Fatal(err)
	}
	var flags []*kong.Flag
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		flags = append(flags, n.Flags...)
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(commands.Model.Node)
	for _, config := range []any{&stage.Common{}, &parser.Config{}} {
		k, err := kong.New(config, kong.NoDefaultHelp())
		if err != nil {
			t.Fatal(err)
		}
		flags = append(flags, k.Model.Flags...)
	}
	listeners := 0
	for _, f := range flags {
		host, port, err := net.SplitHostPort(f.Default)
		if err != nil || strings.Trim(port, "0123456789") != "" {
			continue // no address
		}
		listeners++
		if host != "127.0.0.1" {
			t.Errorf("--%s is %s unless told otherwise", f.Name, f.Default)
		}
	}
	if listeners < 6 {
		t.Errorf("only %d listeners were found", listeners)
	}
}

// Passwords in the address of the server come out of no command, however it
// fails, for people or as JSON.
func TestPasswordsInAddressesStayInside(t *testing.T) {
	const mark = "mArKeD5ecret"
	s := natstest.Secure(t, services.Declared()...)
	guarded := strings.Replace(s.Start(t, "", s.Login), "nats://", "nats://user:"+mark+"@", 1)
	for _, url := range []string{guarded, "nats://user:" + mark + "@127.0.0.1:1", "nats://user:" + mark + "%zz@127.0.0.1:1"} {
		commands := []string{"status", "doctor", "ls", "dead ls", "budget", "cost", "search x", "apply --wait 100ms"}
		if strings.HasSuffix(url, ":1") { // each waits for it for a while
			commands = commands[:2]
		}
		for _, command := range commands {
			for _, more := range []string{"", "--json"} {
				args := append(strings.Fields(command), "--nats-url", url)
				if more != "" {
					args = append(args, more)
				}
				if r := sluice(t, args...); r.code == 0 || strings.Contains(r.out+r.err, mark) {
					t.Errorf("sluice %s ends with %d:\n%s%s", command, r.code, r.out, r.err)
				}
			}
		}
	}
}
