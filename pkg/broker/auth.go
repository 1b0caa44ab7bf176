package broker

import (
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"
)

// ServerAuth returns what nats-server has to be told of the users: the block
// "authorization", for a file of its own that the server's configuration
// includes. keys has the public key of every user. Equal keys give equal text.
func ServerAuth(users []User, keys map[string]string) (string, error) {
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
	for _, u := range users {
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
