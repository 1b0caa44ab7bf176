package office

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// packed returns an archive of parts that hold their own names, many times.
func packed(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(w, "<a>%s</a>", strings.Repeat(name, 30_000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func opened(t *testing.T, data []byte) *Archive {
	t.Helper()
	a, err := OpenArchive(NewJob(t.Context(), format.Input{Name: "test", Data: data}))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Parts are read while others are, as a slide's layout is.
func TestPartsWithinParts(t *testing.T) {
	names := []string{"first", "second", "third"}
	a := opened(t, packed(t, names...))
	var read func(left []string) error
	read = func(left []string) error {
		if len(left) == 0 {
			return nil
		}
		return a.Parse(left[0], func(x *XML, _ xml.StartElement) error {
			if err := read(left[1:]); err != nil {
				return err
			}
			text, err := x.Text()
			if want := strings.Repeat(left[0], 30_000); err == nil && text != want {
				t.Errorf("%s holds %d bytes, %.20q", left[0], len(text), text)
			}
			return err
		})
	}
	for range 3 {
		if err := read(names); err != nil {
			t.Fatal(err)
		}
	}
}

// A part that lies about its size is damaged, also where it claims more than the document has.
func TestPartsThatLieAboutTheirSize(t *testing.T) {
	whole := packed(t, "part")
	directory := bytes.LastIndex(whole, []byte("PK\x01\x02"))
	for _, size := range []uint32{0, 1, 1 << 20, 1<<32 - 2} {
		data := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(data[directory+20:], size)
		_, err := opened(t, data).Read("part")
		var f *fault.Error
		if !errors.As(err, &f) || f.Reason != "corrupt" {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := opened(t, whole).Read("part"); err != nil {
		t.Error(err)
	}
}

// Whoever closes a part twice does not hand its buffers to two others.
func TestPartsAreClosedOnce(t *testing.T) {
	a := opened(t, packed(t, "first", "second", "third"))
	r, err := a.open("first")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	second, err := a.open("second")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	b := make([]byte, 10)
	if _, err := second.Read(b); err != nil {
		t.Fatal(err)
	}
	if third, err := a.Read("third"); err != nil || len(third) != 7+5*30_000 {
		t.Errorf("%d bytes, %v", len(third), err)
	}
	if n, err := second.Read(b); err != nil || !strings.Contains("secondsecondsecond", string(b[:n])) {
		t.Errorf("%q, %v", b[:n], err)
	}
}
