package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/pkg/broker"
	"sluice/pkg/natstest"
)

// Keys are made once, are their owner's alone, and are never printed; the rights
// come out the same every time; and 'apply' as its own user makes everything.
func TestApplyMakesKeysRightsAndStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first := sluice(t, "apply", "--nats-keys", dir, "--json").want(t, 0)
	rights := sluice(t, "apply", "--nats-keys", dir, "--print-nats-auth").want(t, 0)
	again := sluice(t, "apply", "--nats-keys", dir, "--print-nats-auth").want(t, 0)
	if rights.out != again.out {
		t.Error("the rights come out another way the second time")
	}
	for _, u := range broker.Users() {
		path := filepath.Join(dir, broker.SeedFile(u.Name))
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		seed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []result{first, rights, again} {
			if strings.Contains(r.out+r.err, strings.TrimSpace(string(seed))) {
				t.Errorf("the seed of %s was printed", u.Name)
			}
		}
		if !strings.Contains(rights.out, "# "+u.Name+":") || !strings.Contains(first.out, `"user":"`+u.Name+`"`) {
			t.Errorf("%s is missing", u.Name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "parser.nk"), []byte("SUmarked"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := sluice(t, "apply", "--nats-keys", dir).want(t, 1); strings.Contains(r.out+r.err, "marked") || !strings.Contains(r.err, "parser.nk") {
		t.Errorf("a damaged seed: %s", r.err)
	}
	sluice(t, "apply", "--print-nats-auth").want(t, 2)
	sluice(t, "apply", "--replicas", "9").want(t, 2)
}

func TestApplyAsItsOwnUser(t *testing.T) {
	s := natstest.Secure(t)
	url := s.Start(t, "", s.Login) // applies as that user, too
	login := s.Login(broker.UserApply)
	args := []string{"apply", "--nats-url", url, "--nats-nkey", login.NKey, "--nats-inbox-prefix", login.InboxPrefix}
	r := sluice(t, args...).want(t, 0)
	all := len(broker.DefaultTopology().Streams()) + len(broker.Durables())
	if n := strings.Count(r.out, string(broker.Unchanged)); n != all {
		t.Errorf("%d unchanged, want %d:\n%s", n, all, r.out)
	}
	r = sluice(t, append(args, "--json", "--ack-wait", "1m", "--dry-run")...).want(t, 0)
	if n := strings.Count(r.out, `"outcome":"updated"`); n != len(broker.Durables()) {
		t.Errorf("%d consumers would be updated, want all:\n%s", n, r.out)
	}
	other := s.Login("parser")
	r = sluice(t, "apply", "--nats-url", url, "--nats-nkey", other.NKey, "--nats-inbox-prefix", other.InboxPrefix, "--wait", "100ms").want(t, 1)
	if !strings.Contains(r.err, "apply") {
		t.Errorf("as the parser: %s", r.err)
	}
}
