package mail

import (
	"testing"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/office"
)

func FuzzUnpackRTF(f *testing.F) {
	f.Add([]byte("\x2d\x00\x00\x00\x2b\x00\x00\x00LZFu\xf1\xc5\xc7\xa7\x03\x00\x0a\x00rcpg125\x42\x32\x0a\xf3 hel\x09\x00 bw\x05\xb0ld}\x0a\x80\x0f\xa0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := office.NewJob(t.Context(), format.Input{Limits: format.Limits{Expanded: 1 << 20}})
		out, err := unpackRTF(j, data)
		if err == nil && len(out) > 1<<20 {
			t.Fatal(len(out))
		}
	})
}
