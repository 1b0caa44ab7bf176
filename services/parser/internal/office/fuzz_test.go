package office

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// check reads hostile bytes: no panic, no hang, and no error without a class.
func check(t *testing.T, r format.Reader, data []byte) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	small := format.Limits{Output: 1 << 18, Expanded: 4 << 20, Pages: 50, Files: 100}
	out, err := r(ctx, format.Input{Name: "fuzz", Data: data, Limits: small})
	if err != nil {
		var f *fault.Error
		if !errors.As(err, &f) || f.Class != fault.Validation || f.Reason == "timeout" {
			t.Fatalf("%v", err)
		}
		return
	}
	if len(out.Markdown) > 1<<18 {
		t.Fatalf("%d bytes of Markdown", len(out.Markdown))
	}
}

func FuzzRTF(f *testing.F) {
	f.Add([]byte(rtfSample))
	f.Add([]byte(`{\rtf1\trowd\cell\row{\footnote\cell}\u55357?\u-8704?}`))
	f.Fuzz(func(t *testing.T, data []byte) { check(t, RTF, data) })
}

func FuzzXLS(f *testing.F) {
	f.Add(xlsSample())
	f.Fuzz(func(t *testing.T, data []byte) { check(t, XLS, data) })
}

// FuzzBIFF spares the fuzzer the container.
func FuzzBIFF(f *testing.F) {
	j := newJob(context.Background(), format.Input{Data: xlsSample()})
	c, err := openCompound(j)
	if err != nil {
		f.Fatal(err)
	}
	stream, err := c.read("Workbook")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stream)
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, XLS, compoundFile([]part{{"Workbook", string(data)}}))
	})
}

func FuzzMSG(f *testing.F) {
	plain := func(context.Context, []byte) (string, error) { return "text", nil }
	f.Add(msgSample())
	f.Fuzz(func(t *testing.T, data []byte) { check(t, MSG(plain), data) })
}

func FuzzUnpackRTF(f *testing.F) {
	f.Add([]byte("\x2d\x00\x00\x00\x2b\x00\x00\x00LZFu\xf1\xc5\xc7\xa7\x03\x00\x0a\x00rcpg125\x42\x32\x0a\xf3 hel\x09\x00 bw\x05\xb0ld}\x0a\x80\x0f\xa0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := newJob(t.Context(), format.Input{Limits: format.Limits{Expanded: 1 << 20}})
		out, err := (&msg{compound: &compound{job: j}}).unpackRTF(data)
		if err == nil && len(out) > 1<<20 {
			t.Fatal(len(out))
		}
	})
}

func FuzzDOCX(f *testing.F) {
	f.Add(wordBody)
	f.Add(strings.Repeat("<m:e>", 50))
	f.Fuzz(func(t *testing.T, body string) { check(t, DOCX, wordDocument(t, body)) })
}

func FuzzODT(f *testing.F) {
	f.Add(`<text:list><text:list-item><text:p>x</text:p></text:list-item></text:list>`)
	f.Fuzz(func(t *testing.T, body string) { check(t, ODT, odfDocument(t, "text", body)) })
}

func FuzzFormatNumber(f *testing.F) {
	f.Add(45351.5, "yyyy-mm-dd h:mm AM/PM;[Red]0.0#,%", true)
	f.Fuzz(func(t *testing.T, v float64, code string, date1904 bool) {
		if len(code) > 1024 {
			return
		}
		if s := formatNumber(v, code, date1904); len(s) > 64*1024 {
			t.Fatalf("%d bytes", len(s))
		}
	})
}
