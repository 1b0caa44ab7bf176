package deploy

import (
	"bytes"
	"context"
	"crypto/x509"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// dockerfile is what the Dockerfile says.
type dockerfile struct {
	args   map[string]string // with their defaults
	runs   []string          // of the first stage, in order
	copies [][3]string       // into the last stage: owner, from, to
	env    []string          // of the last stage
	user   string
	entry  []string
	final  string // what the last stage begins with
}

// readDockerfile fails at an instruction that nothing here would carry out.
func readDockerfile(t *testing.T) dockerfile {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	d := dockerfile{args: map[string]string{}}
	joined := regexp.MustCompile(`\\\n`).ReplaceAllString(regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(text), ""), "")
	stages := 0
	for _, line := range strings.Split(joined, "\n") {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields := strings.Fields(rest)
		switch {
		case what == "":
		case what == "FROM":
			stages++
			d.final = rest
		case what == "ARG" && stages == 1:
			k, v, _ := strings.Cut(rest, "=")
			d.args[k] = v
		case what == "RUN" && stages == 1:
			d.runs = append(d.runs, rest)
		case what == "ENV" && stages == 1 && rest == "OUT=/out", what == "WORKDIR" && rest == "/src", what == "COPY" && stages == 1 && rest == ". .":
		case what == "COPY" && stages == 2 && fields[0] == "--from=build":
			owner := ""
			fields = fields[1:]
			if o, ok := strings.CutPrefix(fields[0], "--chown="); ok {
				owner, fields = o, fields[1:]
			}
			if len(fields) != 2 {
				t.Fatalf("copies of several files: %s", line)
			}
			d.copies = append(d.copies, [3]string{owner, fields[0], fields[1]})
		case what == "ENV" && stages == 2:
			d.env = append(d.env, fields...)
		case what == "USER" && stages == 2:
			d.user = rest
		case what == "ENTRYPOINT" && stages == 2:
			if err := json.Unmarshal([]byte(rest), &d.entry); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("nothing here carries out: %s", line)
		}
	}
	if stages != 2 || d.final != "scratch" || d.user != "65532:65532" || len(d.entry) != 1 || len(d.runs) == 0 {
		t.Fatalf("the image is of %q, runs %v as %q", d.final, d.entry, d.user)
	}
	return d
}

// sources copies what the build context has: what git knows or would add, less
// what .dockerignore leaves out.
func sources(t *testing.T, to string) {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("..", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// build carries out the steps of the first stage and returns the image's files.
func (d dockerfile) build(t *testing.T, service, src, out string, args ...string) string {
	t.Helper()
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "OUT="+out, "GOFLAGS=", "GOWORK=")
	for k, v := range d.args {
		env = append(env, k+"="+v)
	}
	env = append(append(env, "SERVICE="+service), args...)
	for _, run := range d.runs {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", run)
		cmd.Dir, cmd.Env = src, env
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", run, err, text)
		}
	}
	root := filepath.Join(out, "root")
	for _, c := range d.copies {
		from := c[1]
		if inside, ok := strings.CutPrefix(from, "/out/"); ok {
			from = filepath.Join(out, inside)
		}
		to := filepath.Join(root, c[2])
		if strings.HasSuffix(c[2], "/") {
			to = filepath.Join(to, filepath.Base(from))
		}
		place(t, from, to, c[0] != "")
	}
	return root
}

// place copies a file or a folder, and gives it to the image's user.
func place(t *testing.T, from, to string, own bool) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if e.IsDir() {
			err = os.MkdirAll(target, 0o755)
		} else {
			var data []byte
			var info fs.FileInfo
			if data, err = os.ReadFile(path); err == nil {
				if info, err = os.Stat(path); err == nil {
					err = errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, data, info.Mode().Perm()))
				}
			}
		}
		if err == nil && own && os.Getuid() == 0 {
			err = os.Chown(target, 65532, 65532)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The steps of the Dockerfile make static binaries that say what they are, the
// same bytes from another folder, and run without a right to write anything but
// their own folders. Two services stand for all: the smallest, and the one with
// files of its own. Every binary is built by the same line.
func TestImages(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("the images are for Linux: test them there")
	}
	d := readDockerfile(t)
	work := t.TempDir()
	if err := os.Chmod(work, 0o755); err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(work, "src"), filepath.Join(work, "elsewhere", "sources")
	sources(t, first)
	sources(t, second)

	root := d.build(t, "costd", first, filepath.Join(work, "costd"), "VERSION=1.2.3-rc.1")
	again := d.build(t, "costd", second, filepath.Join(work, "again"), "VERSION=1.2.3-rc.1")
	a, b := read(t, filepath.Join(root, "service")), read(t, filepath.Join(again, "service"))
	if !bytes.Equal(a, b) {
		t.Errorf("built twice, %d and %d bytes that differ", len(a), len(b))
	}
	if bytes.Contains(a, []byte(first)) {
		t.Error("the binary names the folder that it was built in")
	}
	static(t, filepath.Join(root, "service"))
	if out := d.run(t, root, "--version"); strings.TrimSpace(out) != "costd 1.2.3-rc.1" {
		t.Errorf("it says that it is %q", out)
	}
	if out := d.run(t, root, "--help"); !strings.Contains(out, "--budget-day") {
		t.Errorf("its help is %s", out)
	}

	root = d.build(t, "parser", first, filepath.Join(work, "parser"))
	static(t, filepath.Join(root, "service"))
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(read(t, filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))) {
		t.Error("the image trusts nobody")
	}
	for _, warm := range []bool{true, false} {
		t.Run(fmt.Sprintf("a PDF, warm %v", warm), func(t *testing.T) {
			if !warm { // as on a processor of another kind
				entries := files(t, filepath.Join(root, "cache"))
				if len(entries) == 0 {
					t.Fatal("the image has no compiled code")
				}
				for _, e := range entries {
					if err := os.Remove(e); err != nil {
						t.Fatal(err)
					}
				}
			}
			d.parse(t, root, warm)
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// static checks that a binary needs no other file to run.
func static(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	libraries, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) || len(libraries) > 0 {
		t.Errorf("%s links %v (%v)", path, libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s needs an interpreter", path)
		}
	}
}

// contained tells whether this process may do as a container's engine: it takes
// root, and the right to mount.
var contained = sync.OnceValue(func() bool {
	return os.Getuid() == 0 && exec.Command("unshare", "--mount", "true").Run() == nil
})

// command starts the image's entry point as a container would: as its user, with
// a root that cannot be written, and a /tmp of its own. Where that is not
// allowed the binary runs as it is.
func (d dockerfile) command(ctx context.Context, t *testing.T, root, tmp string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	if !contained() {
		t.Log("no right to mount: the image's root and user are not tried")
		cmd := exec.CommandContext(ctx, filepath.Join(root, d.entry[0]), args...)
		cmd.Env = append(slices.Clone(env), "TMPDIR="+tmp)
		for _, e := range d.env {
			k, v, _ := strings.Cut(e, "=")
			cmd.Env = append(cmd.Env, k+"="+filepath.Join(root, v))
		}
		return cmd
	}
	for _, dir := range []string{"proc", "dev"} { // a container's engine adds them
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(tmp, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	script := `set -e
mount --make-rprivate /
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
mount --bind "$1" "$0/tmp"
mount -t proc proc "$0/proc"
mount --bind /dev "$0/dev"
root=$0; shift
exec chroot --userspec=` + d.user + ` --groups= "$root" "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", script, root, tmp, d.entry[0]}, args...)...)
	cmd.Env = append(append([]string{"PATH=" + os.Getenv("PATH")}, d.env...), env...)
	return cmd
}

func (d dockerfile) run(t *testing.T, root string, args ...string) string {
	t.Helper()
	out, err := d.command(t.Context(), t, root, t.TempDir(), nil, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// parse has the image's parser read a PDF. Compiled code is taken from the image
// if it is there and kept in /tmp otherwise.
func (d dockerfile) parse(t *testing.T, root string, warm bool) {
	t.Helper()
	server := natstest.Start(t, broker.DefaultTopology())
	nc := natstest.Connect(t, server)
	parsed := make(chan *nats.Msg, 8)
	for _, subject := range []string{events.SubjectParsed, events.SubjectDeadPrefix + ">"} {
		if _, err := nc.ChanSubscribe(subject, parsed); err != nil {
			t.Fatal(err)
		}
	}
	tmp := t.TempDir()
	if err := os.Chmod(filepath.Dir(tmp), 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := d.command(t.Context(), t, root, tmp, []string{"NATS_URL=" + server, "TZ=Asia/Tokyo", "SLUICE_LOG_FORMAT=json", "SLUICE_PARSER_ISOLATE_WORKERS=1"})
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg(events.SubjectSubmit)
	m.Header.Set(events.HeaderFilename, "gate-inspection.pdf")
	m.Data = read(t, "../examples/documents/gate-inspection.pdf")
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-parsed:
		if got.Subject != events.SubjectParsed {
			t.Errorf("the PDF became a dead letter: %v", got.Header)
		}
	case <-time.After(time.Minute):
		t.Error("the PDF was not read")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the parser ended with %v", err)
	}
	if t.Failed() {
		t.Log(log.String())
	}
	if !strings.Contains(log.String(), "+09:00") {
		t.Errorf("it does not know the time in Tokyo: %s", log.String())
	}
	if kept := files(t, tmp); warm && len(kept) > 0 || !warm && contained() && len(kept) == 0 {
		t.Errorf("compiled code of the image %v, and in /tmp: %v", warm, kept)
	}
}
