package llamaparse

import (
	"bytes"
	"compress/zlib"
	"io"
	"regexp"
	"strconv"
)

// pageCount is the number of pages in a node of a PDF's page tree; the root has
// the largest.
var pageCount = regexp.MustCompile(`/Count\s{1,8}(\d{1,7})`)

// inflated bounds how much of a PDF's object streams is looked at.
const inflated = 64 << 20

// pdfPages bounds the pages of a PDF from above, 0 if they cannot be told. It
// reads page trees only, compressed ones too, and does not judge the file: what
// it finds is a bound that the service is told to keep, so a file that lies
// about itself costs no more.
func pdfPages(data []byte) int {
	if i := bytes.Index(data[:min(len(data), 1024)], []byte("%PDF-")); i < 0 {
		return 0
	}
	most := 0
	look := func(b []byte) {
		if !bytes.Contains(b, []byte("/Pages")) {
			return
		}
		for _, m := range pageCount.FindAllSubmatch(b, -1) {
			if n, err := strconv.Atoi(string(m[1])); err == nil {
				most = max(most, n)
			}
		}
	}
	look(data)
	left := int64(inflated)
	for rest := data; left > 0; {
		i := bytes.Index(rest, []byte("/ObjStm"))
		if i < 0 {
			break
		}
		rest = rest[i:]
		s := bytes.Index(rest, []byte("stream"))
		if s < 0 {
			break
		}
		body := bytes.TrimLeft(rest[s+len("stream"):], "\r\n")
		rest = rest[s+len("stream"):]
		z, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			continue
		}
		// A stream that breaks off has been read as far as it goes.
		text, _ := io.ReadAll(io.LimitReader(z, left))
		left -= int64(len(text))
		look(text)
		_ = z.Close() // nothing to release
	}
	return most
}
