package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/parser/local"
)

// DoctorCmd checks everything.
type DoctorCmd struct {
	Data string `env:"SLUICE_DATA" default:".sluice" type:"path" help:"Data directory of 'sluice up', to check the disk." placeholder:"DIR"`
	Online
}

// Help is shown by --help.
func (DoctorCmd) Help() string {
	return examples("Checks the connection and the nats-server, streams, buckets, consumers and stages, shows what waits and for what, and looks for documents that are not final "+
		"while nothing of them is on its way. What the stages say of themselves comes from them; checks that begin with 'here' are about this machine and shell. Each problem comes with the next step. It fails if something does not work, and not for warnings. "+
		"It never prints a key and changes nothing.",
		"sluice doctor", "What is wrong?",
		"sluice doctor --nats-url nats://nats.internal:4222", "Of a pipeline elsewhere",
		"sluice doctor --json | jq '.checks[] | select(.status!=\"ok\")'", "For a program")
}

// The outcomes of a check.
const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "fail"
)

// check is the outcome of one check.
type check struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// checkup collects checks.
type checkup struct{ Checks []check }

func (u *checkup) ok(name, format string, args ...any) {
	u.Checks = append(u.Checks, check{Check: name, Status: statusOK, Detail: fmt.Sprintf(format, args...)})
}

func (u *checkup) warn(name, hint, format string, args ...any) {
	u.Checks = append(u.Checks, check{name, statusWarn, fmt.Sprintf(format, args...), hint})
}

func (u *checkup) fail(name, hint, format string, args ...any) {
	u.Checks = append(u.Checks, check{name, statusFail, fmt.Sprintf(format, args...), hint})
}

func (u *checkup) err(name string, err error) {
	f := fault.From(err)
	u.fail(name, f.Hint, "%s", f.Message)
}

// Run checks.
func (cmd DoctorCmd) Run(ctx context.Context, o *output) error {
	u := &checkup{}
	if c, err := cmd.connect(ctx); err != nil {
		u.err("connection", err)
	} else {
		defer c.close()
		cmd.online(ctx, u, c)
	}
	// The rest is about this process and this shell: the stages may run elsewhere.
	checkParser(ctx, u)
	checkKeys(u)
	checkDisk(u, cmd.Data)

	failed, warned := 0, 0
	for _, c := range u.Checks {
		switch c.Status {
		case statusFail:
			failed++
		case statusWarn:
			warned++
		}
	}
	if o.json {
		if err := o.line(map[string]any{"ok": failed == 0, "checks": u.Checks}); err != nil {
			return err
		}
	} else {
		rows := make([][]string, 0, len(u.Checks))
		for _, c := range u.Checks {
			rows = append(rows, []string{c.Status, c.Check, c.Detail})
			if c.Hint != "" {
				rows = append(rows, []string{"", "", "hint: " + c.Hint})
			}
		}
		o.table([]column{{title: "STATUS", paint: paintState}, {title: "CHECK"}, {title: "DETAIL"}}, rows)
	}
	if failed > 0 {
		return failf("unhealthy", "follow the hints above, from the top", "%d of %d checks failed", failed, len(u.Checks))
	}
	return nil
}

// online checks what needs a connection.
func (cmd DoctorCmd) online(ctx context.Context, u *checkup, c *client) {
	rtt, err := c.nc.RTT()
	if err != nil {
		u.err("connection", fault.Wrap(err, fault.Unavailable, "connection", "the server does not answer"))
		return
	}
	u.ok("connection", "%s, nats-server %s, round trip %v, payloads up to %s", c.nc.ConnectedUrlRedacted(), c.nc.ConnectedServerVersion(),
		rtt.Round(time.Microsecond), bytesText(c.nc.MaxPayload()))
	info, err := c.js.AccountInfo(ctx)
	if err != nil {
		u.fail("jetstream", "start the server with 'nats-server -js'", "JetStream is not available: %v", err)
		return
	}
	u.ok("jetstream", "%s stored in %s", bytesText(int64(info.Store)), plural(info.Streams, "stream"))
	if !checkStreams(ctx, u, c) {
		return
	}
	running := checkStages(ctx, u, c)
	checkConsumers(ctx, u, c, running)
	checkEndpoints(ctx, u, c, running)
	checkDead(ctx, u, c)
	if c.documents != nil {
		checkDocuments(ctx, u, c, running)
	}
}

// checkParser parses a small document, in this process.
func checkParser(ctx context.Context, u *checkup) {
	p, err := local.New(local.DefaultConfig())
	if err != nil {
		u.err("here: parser", err)
		return
	}
	_, err = p.Parse(ctx, provider.Source{Name: "check.md", Data: []byte("# Check\n\nA document.\n")})
	if err = errors.Join(err, p.Close()); err != nil {
		u.err("here: parser", err)
		return
	}
	info := p.Describe()
	u.ok("here: parser", "%s, version %s", info.Service, info.Version)
}

// checkKeys says which keys of paid providers are set. It never prints them.
func checkKeys(u *checkup) {
	for _, k := range []struct{ name, who string }{{"OPENAI_API_KEY", "OpenAI"}, {"LLAMA_CLOUD_API_KEY", "LlamaParse"}} {
		switch v := os.Getenv(k.name); {
		case v == "":
			u.ok("here: key "+k.who, "%s is not set in this shell, which says nothing of the stages'", k.name)
		case v != strings.TrimSpace(v):
			u.warn("here: key "+k.who, "set it again without them", "%s has spaces or line ends around it", k.name)
		default:
			u.ok("here: key "+k.who, "%s is set in this shell (%d characters), which says nothing of the stages'", k.name, len(v))
		}
	}
}

// diskLow and diskEmpty are bytes of free disk below which doctor speaks up.
const (
	diskLow   = 5 << 30
	diskEmpty = 512 << 20
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func checkDisk(u *checkup, data string) {
	if nats := filepath.Join(data, "nats"); exists(nats) {
		data = nats // it may be a disk of its own, and it is the one that must not be full
	}
	dir := data
	for {
		if exists(dir) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := freeBytes(dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		u.ok("here: disk", "free space is not known on this system")
	case err != nil:
		u.err("here: disk", fmt.Errorf("look at the disk of %s: %w", dir, err))
	case free < diskEmpty:
		u.fail("here: disk", "make room, or move the data directory with --data", "%s free under %s", bytesText(int64(free)), dir)
	case free < diskLow:
		u.warn("here: disk", "make room before long", "%s free under %s", bytesText(int64(free)), dir)
	default:
		u.ok("here: disk", "%s free under %s", bytesText(int64(min(free, 1<<62))), dir)
	}
}
