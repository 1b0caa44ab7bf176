package isolate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

const parentEnv = "ISOLATE_TEST_PARENT"

func TestMain(m *testing.M) {
	Init(act)
	if os.Getenv(parentEnv) == "1" {
		parentForOrphan()
		return
	}
	goleak.VerifyTestMain(m)
}

// act is what the children of these tests do: the name of a document says what.
func act(ctx context.Context, in format.Input) (*format.Output, error) {
	switch in.Name {
	case "echo":
		return &format.Output{
			Markdown: string(in.Data),
			Pages:    []events.PageMark{{Page: 1}, {Page: 2, Offset: 7}},
			Facts:    events.Facts{Title: "Title", Type: in.ContentType + ";" + in.Charset, Pages: in.Limits.Pages},
			Warnings: []string{"one"},
		}, nil
	case "pid":
		return &format.Output{Markdown: strconv.Itoa(os.Getpid())}, nil
	case "refuse":
		return nil, fault.Invalid("encrypted", "%s: it has a password", in.Name).WithHint("remove it").After(time.Minute)
	case "plain error":
		return nil, errors.New("something odd")
	case "nothing":
		return nil, nil
	case "print":
		fmt.Println("a library talks")
		fmt.Fprintln(os.Stderr, "here too")
		return &format.Output{Markdown: "printed"}, nil
	case "environment":
		return &format.Output{Markdown: strings.Join(os.Environ(), "\n")}, nil
	case "panic":
		panic("a reader's defect")
	case "fatal": // which no recover can catch
		go panic("from a goroutine")
		select {}
	case "exit":
		os.Exit(3)
	case "polite":
		<-ctx.Done()
		return nil, fault.Invalid("timeout", "read 3 of 9 pages")
	case "hang":
		for i := 0; ; i++ {
			runtime.KeepAlive(i)
		}
	case "bomb":
		var held [][]byte
		for {
			b := bytes.Repeat([]byte{1}, 8<<20)
			held = append(held, b)
			runtime.KeepAlive(held)
		}
	case "members": // one of which does what its name says
		var read []string
		for i, name := range strings.Fields(string(in.Data)) {
			if err := in.At(i+1, name); err != nil {
				read = append(read, err.Error())
				continue
			}
			if _, err := act(ctx, format.Input{Name: name}); err != nil {
				return nil, err
			}
			if err := in.At(0, ""); err != nil {
				return nil, err
			}
			read = append(read, name)
		}
		return &format.Output{Markdown: strings.Join(read, "\n")}, nil
	case "grow":
		kept = bytes.Repeat([]byte{1}, 64<<20)
		return &format.Output{Markdown: strconv.Itoa(os.Getpid())}, nil
	}
	return nil, fmt.Errorf("no such act: %q", in.Name)
}

var kept []byte

func newPool(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p, err := NewPool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func convert(t *testing.T, p *Pool, name string) string {
	t.Helper()
	out, err := p.Convert(t.Context(), format.Input{Name: name})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out.Markdown
}

func TestEverythingCrosses(t *testing.T) {
	p := newPool(t, Config{})
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<20) // 48 MiB, larger than any pipe or step
	out, err := p.Convert(t.Context(), format.Input{
		Name: "echo", ContentType: "text/plain", Charset: "utf-8", Data: data, Limits: format.Limits{Pages: 12},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.Markdown != string(data) {
		t.Errorf("got %d bytes back, sent %d", len(out.Markdown), len(data))
	}
	want := events.Facts{Title: "Title", Type: "text/plain;utf-8", Pages: 12}
	if out.Facts != want {
		t.Errorf("facts %+v, want %+v", out.Facts, want)
	}
	if len(out.Pages) != 2 || out.Pages[1] != (events.PageMark{Page: 2, Offset: 7}) {
		t.Errorf("pages %v", out.Pages)
	}
	if len(out.Warnings) != 1 || out.Warnings[0] != "one" {
		t.Errorf("warnings %v", out.Warnings)
	}
}

// What kills the child is left out of its document, and the rest is read.
func TestMembersThatEndTheChild(t *testing.T) {
	p := newPool(t, Config{Memory: 128 << 20, Workers: 1})
	for range 2 { // on a fresh child, and on a used one
		out, err := p.Convert(t.Context(), format.Input{Name: "members", Data: []byte("print bomb pid exit echo")})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"print", "bomb: needs more than 128 MiB of memory to read", "pid", "exit: the parser process died: exit status 3", "echo"}
		for i, got := range strings.Split(out.Markdown, "\n") {
			if !strings.HasPrefix(got, want[i]) {
				t.Errorf("member %d: %q, want %q", i+1, got, want[i])
			}
		}
	}
	// Without end it is the document that fails.
	_, err := p.Convert(t.Context(), format.Input{Name: "members", Data: []byte(strings.Repeat("exit ", 100))})
	if f := fault.From(err); f == nil || f.Reason != "parser-crash" {
		t.Errorf("a hundred crashes: %v", err)
	}
}

func TestRefusalsKeepTheirClass(t *testing.T) {
	p := newPool(t, Config{})
	_, err := p.Convert(t.Context(), format.Input{Name: "refuse"})
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatalf("not a fault: %v", err)
	}
	want := fault.Error{Class: fault.Validation, Reason: "encrypted", Message: "refuse: it has a password", Hint: "remove it", RetryAfter: time.Minute}
	if *f != want {
		t.Errorf("got %+v, want %+v", *f, want)
	}
	for _, name := range []string{"plain error", "nothing"} {
		if _, err := p.Convert(t.Context(), format.Input{Name: name}); fault.Of(err) != fault.Unavailable {
			t.Errorf("%s: %v is %v", name, err, fault.Of(err))
		}
	}
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		class  fault.Class
		reason string
		says   string
	}{
		{"panic", fault.Execution, reasonCrash, "a reader's defect"},
		{"fatal", fault.Execution, reasonCrash, "from a goroutine"},
		{"exit", fault.Execution, reasonCrash, "exit status 3"},
		{"hang", fault.Validation, reasonTimeout, "100ms"},
		{"polite", fault.Validation, reasonTimeout, "read 3 of 9 pages"},
		{"bomb", fault.Validation, reasonLarge, "128 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, Config{Memory: 128 << 20})
			limits := format.Limits{Time: 100 * time.Millisecond}
			if tt.reason != reasonTimeout {
				limits.Time = time.Minute
			}
			// Both on a fresh child and on one that has worked before.
			for range 2 {
				_, err := p.Convert(t.Context(), format.Input{Name: tt.name, Limits: limits})
				f := fault.From(err)
				if f == nil || f.Class != tt.class || f.Reason != tt.reason || !strings.Contains(f.Message, tt.says) {
					t.Fatalf("got %+v, want %v %q saying %q", f, tt.class, tt.reason, tt.says)
				}
				if got := convert(t, p, "print"); got != "printed" {
					t.Fatalf("the next document got %q", got)
				}
			}
		})
	}
}

func TestPrintingDoesNotDisturb(t *testing.T) {
	p := newPool(t, Config{})
	for range 3 {
		if got := convert(t, p, "print"); got != "printed" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestSecretsStayInTheParent(t *testing.T) {
	t.Setenv("ISOLATE_TEST_SECRET", "sk-123")
	p := newPool(t, Config{Env: []string{"CACHE=/some/where"}})
	env := convert(t, p, "environment")
	if strings.Contains(env, "sk-123") {
		t.Error("the child sees the parent's environment")
	}
	if !strings.Contains(env, "CACHE=/some/where") {
		t.Error("the child does not see Config.Env")
	}
}

func TestChildrenAreReused(t *testing.T) {
	p := newPool(t, Config{Documents: 3})
	var pids []string
	for range 4 {
		pids = append(pids, convert(t, p, "pid"))
	}
	if pids[0] != pids[1] || pids[1] != pids[2] {
		t.Errorf("%v: one child should have done the first three", pids)
	}
	if pids[2] == pids[3] {
		t.Errorf("%v: the child should have been replaced after three", pids)
	}
}

func TestGrownChildIsReplaced(t *testing.T) {
	p := newPool(t, Config{Memory: 1 << 30, Grown: 48 << 20})
	if first, next := convert(t, p, "grow"), convert(t, p, "pid"); first == next {
		t.Error("the child keeps its 64 MiB")
	}
}

func TestDeathWhileIdleCostsNoDocument(t *testing.T) {
	p := newPool(t, Config{})
	pid, err := strconv.Atoi(convert(t, p, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := convert(t, p, "pid"); got == strconv.Itoa(pid) {
		t.Error("the dead child answered")
	}
}

func TestCallerGoesAway(t *testing.T) {
	p := newPool(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := p.Convert(ctx, format.Input{Name: "hang", Limits: format.Limits{Time: time.Hour}})
	if !errors.Is(err, context.DeadlineExceeded) || fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v (%v)", err, fault.Of(err))
	}
	if _, err := p.Convert(ctx, format.Input{Name: "pid"}); fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestCloseInterrupts(t *testing.T) {
	p := newPool(t, Config{Workers: 2})
	pid := convert(t, p, "pid")
	var wg sync.WaitGroup
	errs := make([]error, 3) // one more than there are workers
	for i := range errs {
		wg.Go(func() { _, errs[i] = p.Convert(t.Context(), format.Input{Name: "hang"}) })
	}
	waitFor(t, "both children at work", func() bool { return len(p.slots) == 0 })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, err := range errs {
		if f := fault.From(err); f == nil || f.Reason != "closed" || f.Class != fault.Unavailable {
			t.Errorf("got %v", err)
		}
	}
	if running(pid) {
		t.Error("a child lives on")
	}
	if _, err := p.Convert(t.Context(), format.Input{Name: "pid"}); err == nil {
		t.Error("a closed pool converts")
	}
}

func TestManyAtOnce(t *testing.T) {
	p := newPool(t, Config{Workers: 3, Documents: 5})
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			name, want := "echo", strings.Repeat(strconv.Itoa(i), 1000)
			if i%7 == 0 {
				name = "exit"
			}
			out, err := p.Convert(t.Context(), format.Input{Name: name, Data: []byte(want)})
			switch {
			case name == "exit":
				if fault.Of(err) != fault.Execution {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			case out.Markdown != want:
				t.Error("got another document's text")
			}
		})
	}
	wg.Wait()
}

// Documents that come one after the other need one child, however many there may be.
func TestOneAfterTheOtherTakesOneChild(t *testing.T) {
	p := newPool(t, Config{Workers: 3})
	first := convert(t, p, "pid")
	for range 5 {
		if pid := convert(t, p, "pid"); pid != first {
			t.Errorf("process %s has a document, and %s was idle", pid, first)
		}
	}
}

// A child reads documents to where the ones before them were.
func TestDocumentsOfAnySizeFollowEachOther(t *testing.T) {
	p := newPool(t, Config{})
	for i, size := range []int{100, 300 << 10, 1, ordinary, 20, ordinary + 1, 0, 70 << 10, 300 << 10} {
		data := bytes.Repeat([]byte{byte('a' + i)}, size)
		out, err := p.Convert(t.Context(), format.Input{Name: "echo", Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if out.Markdown != string(data) {
			t.Errorf("%d bytes came back as others", size)
		}
	}
}

// TestChildrenDieWithTheParent kills a process that has a pool with a child in
// an endless loop, so that nothing in it can tidy up.
func TestChildrenDieWithTheParent(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("Windows: only the reader of standard input ends the child")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(binary)
	parent.Env = append(os.Environ(), parentEnv+"=1")
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(line)
	if !running(pid) {
		t.Fatalf("no child %q", pid)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent ended well before it was killed")
	}
	waitFor(t, "the child's end", func() bool { return !running(pid) })
}

func parentForOrphan() {
	p, err := NewPool(Config{})
	if err != nil {
		panic(err)
	}
	out, err := p.Convert(context.Background(), format.Input{Name: "pid"})
	if err != nil {
		panic(err)
	}
	fmt.Println(out.Markdown)
	_, err = p.Convert(context.Background(), format.Input{Name: "hang"})
	panic(err)
}

func TestNoPoolInAChild(t *testing.T) {
	t.Setenv(markEnv, "1")
	if _, err := NewPool(Config{}); err == nil {
		t.Error("a child can start children")
	}
}

// running reports whether there is such a process that is not a zombie: whoever
// inherits an orphan may take its time to reap it.
func running(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err == nil {
		_, after, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(after, "Z")
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return false
	}
	return exec.Command("kill", "-0", pid).Run() == nil
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	if err := writeFrame(&b, request{Name: "x"}, []byte("body")); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, '{', '}'})
	f.Fuzz(func(t *testing.T, frame []byte) {
		var r response
		body, err := readFrame(bytes.NewReader(frame), &r, nil)
		if err == nil && len(body)+prefixBytes > len(frame) {
			t.Errorf("%d bytes from %d", len(body), len(frame))
		}
	})
}

func BenchmarkConvert(b *testing.B) {
	p, err := NewPool(Config{Documents: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	in := format.Input{Name: "echo", Data: make([]byte, 100<<10)}
	b.SetBytes(int64(len(in.Data)))
	for b.Loop() {
		if _, err := p.Convert(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	p, err := NewPool(Config{Documents: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for b.Loop() {
		if _, err := p.Convert(b.Context(), format.Input{Name: "pid"}); err != nil {
			b.Fatal(err)
		}
	}
}
