package data

import (
	"encoding/csv"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/services/parser/internal/format"
)

func allRows(src string, delimiter byte) [][]string {
	var all [][]string
	r := newCSVRows(src, delimiter)
	for {
		row, ok := r.next()
		if !ok {
			return all
		}
		all = append(all, slices.Clone(row))
	}
}

func TestCSVRows(t *testing.T) {
	for name, c := range map[string]struct {
		src  string
		want [][]string
	}{
		"plain":                   {"a,b\n1,2\n", [][]string{{"a", "b"}, {"1", "2"}}},
		"CR alone":                {"a,b\r1,2\r3,4", [][]string{{"a", "b"}, {"1", "2"}, {"3", "4"}}},
		"CRLF":                    {"a,b\r\n1,\r\n", [][]string{{"a", "b"}, {"1", ""}}},
		"over lines":              {"a,b\n1,\"x\ny\"\n2,z", [][]string{{"a", "b"}, {"1", "x\ny"}, {"2", "z"}}},
		"over lines with CR":      {"a,b\r1,\"x\ry\"\r2,z", [][]string{{"a", "b"}, {"1", "x\ry"}, {"2", "z"}}},
		"doubled":                 {`1,"say ""hi"", you"`, [][]string{{"1", `say "hi", you`}}},
		"doubled at the start":    {`1,"""hi"" she said"`, [][]string{{"1", `"hi" she said`}}},
		"empty":                   {`"",x,""`, [][]string{{"", "x", ""}}},
		"inches":                  {"1,5\" pipe,x\n2,6\",y", [][]string{{"1", `5" pipe`, "x"}, {"2", `6"`, "y"}}},
		"never closed":            {"a,b\n1,\"open\n2,x\n3,y", [][]string{{"a", "b"}, {"1", `"open`}, {"2", "x"}, {"3", "y"}}},
		"another opens":           {"a,b\n1,\"open\n2,\"x, y\"\n3,z", [][]string{{"a", "b"}, {"1", `"open`}, {"2", "x, y"}, {"3", "z"}}},
		"inches close it":         {"a,b,c\n1,\"open,x\n2,pipe 5\",y\n3,z,z", [][]string{{"a", "b", "c"}, {"1", `"open`, "x"}, {"2", `pipe 5"`, "y"}, {"3", "z", "z"}}},
		"backslash":               {`1,"he said \"hi\", ok",a` + "\n" + `2,"c:\\x",b`, [][]string{{"1", `he said "hi", ok`, "a"}, {"2", `c:\x`, "b"}}},
		"a folder, no backslash":  {`1,"c:\dir\",a`, [][]string{{"1", `c:\dir\`, "a"}}},
		"spaces before the quote": {"a, b\n1, \"x, y\"\n2, z \"q\"\n3, \"open\n4,w", [][]string{{"a", " b"}, {"1", "x, y"}, {"2", ` z "q"`}, {"3", ` "open`}, {"4", "w"}}},
		"spaces after the quote":  {`1,"a" ,b`, [][]string{{"1", "a ", "b"}}},
	} {
		if got := allRows(c.src, ','); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q gives %q, want %q", name, c.src, got, c.want)
		}
	}
}

// What encoding/csv writes is read as it was.
func TestCSVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(2, 5).Draw(t, "width")
		cell := rapid.StringMatching(`[a-z", \n;é]{0,8}`)
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, width, width), 1, 8).Draw(t, "rows")
		var b strings.Builder
		w := csv.NewWriter(&b)
		for _, row := range rows {
			for i, c := range row {
				row[i] = strings.ReplaceAll(c, "\n\"", "\n") // reads as the start of another cell
				row[i] = strings.ReplaceAll(row[i], ",\"", ",")
			}
			if err := w.Write(row); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		if got := allRows(b.String(), ','); !reflect.DeepEqual(got, rows) {
			t.Fatalf("%q gives %q, want %q", b.String(), got, rows)
		}
	})
}

func TestCSVDelimiter(t *testing.T) {
	for src, want := range map[string]byte{
		"1,5;2,5\n3,5;4,25\n10,1;7,0\n":                    ';',
		"Name;Preis\nLampe;1,50\nTisch;120,00\n":           ';',
		"a\tb\n1,5\t2,5\n":                                 '\t',
		"1,2,3\n4,5,6\n":                                   ',',
		"x,y\n\"a;b\",1\n\"c;d\",2\n":                      ',',
		"id|note\n1|a, b\n2|c, d\n":                        '|',
		"Ort;Breite;Länge\nUlm;48,40;9,99\nBonn;50,73;7,1": ';',
		"a,b\r1,2\r3,4\r":                                  ',',
	} {
		if got := sniffDelimiter(src, ','); got != want {
			t.Errorf("%q is cut at %q, want %q", src, got, want)
		}
	}
}

func TestCSVStrayQuoteIsSaid(t *testing.T) {
	out, err := CSV(t.Context(), format.Input{Name: "a.csv", Data: []byte("id,text\n1,\"open\n2,x\n")})
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "line 2") {
		t.Errorf("%v, warnings %q", err, out.Warnings)
	}
}

// A table of many rows is held once as bytes and once as Markdown, not as cells.
func TestCSVMemory(t *testing.T) {
	src := []byte(strings.Repeat("1,2,3,4,5,6,7,8,9,10\n", 100_000))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, err := CSV(t.Context(), format.Input{Name: "a.csv", Data: src})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(3*len(src)+3*len(out.Markdown)); got > most {
		t.Errorf("%d bytes were allocated for %d bytes that give %d; at most %d are needed", got, len(src), len(out.Markdown), most)
	}
}
