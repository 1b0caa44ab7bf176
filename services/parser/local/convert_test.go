package local

import (
	"archive/zip"
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
)

// A member that never ends leaves time for the others.
func TestMemberWithoutEnd(t *testing.T) {
	var data bytes.Buffer
	w := zip.NewWriter(&data)
	for _, name := range []string{"first.txt", "endless.md", "last.txt"} {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte("text of " + name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	read := formats.Markdown.Read
	defer func() { formats.Markdown.Read = read }()
	formats.Markdown.Read = func(ctx context.Context, in format.Input) (*format.Output, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := newConverter("").convert(ctx, format.Input{Name: "a.zip", Data: data.Bytes(), Limits: DefaultConfig().limits()})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.Markdown, "text of first.txt") || !strings.Contains(out.Markdown, "text of last.txt") {
			t.Errorf("Markdown = %q", out.Markdown)
		}
		if w := strings.Join(out.Warnings, "\n"); !strings.HasPrefix(w, "timeout: a.zip/endless.md") {
			t.Errorf("warned %q", w)
		}
	})
}
