package llamaparse

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"path"
	"strconv"
	"strings"
)

// officePages bounds the pages of an Office file from above; 0 if they cannot be
// told. exact says that they were counted: slides are pages. Text documents and
// sheets have no pages before somebody lays them out, so theirs are an upper
// estimate from what is in them. Either is a bound that the service is told to
// keep, so a file that lies about itself costs no more.
//
//	PPTX  the slides
//	DOCX  lines of 60 characters, 15 a page; a page for each picture, each page
//	      break and each section; half as much again as the file says it has, if
//	      that is more
//	XLSX  a page for each sheet and for 100 cells
func officePages(data []byte) (pages int, exact bool) {
	z := openOffice(data)
	if z == nil {
		return 0, false
	}
	slides, sheets, cells := 0, 0, 0
	var document, app *zip.File
	for _, f := range z.File {
		name := strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(f.Name, `\`, "/"), "/"))
		dir, base := path.Split(name)
		switch {
		case dir == "ppt/slides/" && strings.HasPrefix(base, "slide") && strings.HasSuffix(base, ".xml"):
			slides++
		case dir == "xl/worksheets/" && strings.HasSuffix(base, ".xml"):
			sheets++
			cells += scan(f).cells
		case name == "word/document.xml":
			document = f
		case name == "docprops/app.xml":
			app = f
		}
	}
	switch {
	case slides > 0:
		return slides, true
	case sheets > 0:
		return max(least, sheets+cells/100), false
	case document != nil:
		d := scan(document)
		if d.paragraphs == 0 {
			return 0, false // not what it seems to be
		}
		pages = 1 + d.lines/15 + d.breaks + d.pictures
		if n := claimed(app); n > 0 {
			pages = max(pages, n+n/2)
		}
		return max(least, pages), false
	}
	return 0, false
}

const (
	// least is what an estimate is at least: a small reservation loses little, a
	// page that is cut off is missed.
	least = 5
	// entries bounds the archives that are looked into.
	entries = 20_000
	// unpacked bounds what is read of a part.
	unpacked = 64 << 20
)

// openOffice opens an archive whose directory is of a sane size, or returns nil.
func openOffice(data []byte) *zip.Reader {
	if !bytes.HasPrefix(data, []byte("PK\x03\x04")) {
		return nil
	}
	// The library reads directory entries as long as there are any, so they are
	// counted before it does.
	end := bytes.LastIndex(data[max(0, len(data)-66_000):], []byte("PK\x05\x06"))
	if end < 0 {
		return nil
	}
	end += max(0, len(data)-66_000)
	if len(data)-end < 22 {
		return nil
	}
	size, offset := int64(binary.LittleEndian.Uint32(data[end+12:])), int64(binary.LittleEndian.Uint32(data[end+16:]))
	for _, at := range []int64{offset, int64(end) - size} {
		if n := walk(data, at); n > entries {
			return nil
		}
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(z.File) > entries {
		return nil
	}
	return z
}

// walk counts the directory entries from an offset on.
func walk(data []byte, at int64) (n int) {
	for at >= 0 && at+46 <= int64(len(data)) && string(data[at:at+4]) == "PK\x01\x02" && n <= entries {
		n++
		at += 46 + int64(binary.LittleEndian.Uint16(data[at+28:])) + int64(binary.LittleEndian.Uint16(data[at+30:])) + int64(binary.LittleEndian.Uint16(data[at+32:]))
	}
	return n
}

// counts is what a part holds that takes room on a page.
type counts struct{ paragraphs, lines, breaks, pictures, cells int }

// scan counts in one pass over the bytes, whatever prefix the names of elements
// have. A part that breaks off is counted as far as it goes.
func scan(f *zip.File) (c counts) {
	r, err := f.Open()
	if err != nil {
		return c
	}
	text, _ := io.ReadAll(io.LimitReader(r, unpacked))
	_ = r.Close() // nothing to release
	chars := 0
	line := func() {
		c.lines += max(1, (chars+59)/60)
		chars = 0
	}
	for len(text) > 0 {
		open := bytes.IndexByte(text, '<')
		if open < 0 {
			break
		}
		chars += len(bytes.TrimSpace(text[:open]))
		text = text[open+1:]
		end := bytes.IndexByte(text, '>')
		if end < 0 {
			break
		}
		tag := text[:end]
		text = text[end+1:]
		name, rest, _ := bytes.Cut(bytes.TrimSuffix(tag, []byte("/")), []byte(" "))
		if i := bytes.IndexByte(name, ':'); i >= 0 {
			closing := len(name) > 0 && name[0] == '/'
			name = name[i+1:]
			if closing {
				name = append([]byte("/"), name...)
			}
		}
		switch string(name) {
		case "p":
			c.paragraphs++
			line()
		case "br":
			if bytes.Contains(rest, []byte(`"page"`)) {
				c.breaks++
			} else {
				line()
			}
		case "lastRenderedPageBreak", "pageBreakBefore", "sectPr":
			c.breaks++
		case "drawing", "pict", "object":
			c.pictures++
		case "c":
			c.cells++
		}
	}
	line()
	return c
}

// claimed returns how many pages the file says that it has.
func claimed(app *zip.File) int {
	if app == nil {
		return 0
	}
	r, err := app.Open()
	if err != nil {
		return 0
	}
	defer func() { _ = r.Close() }() // nothing to release
	text, _ := io.ReadAll(io.LimitReader(r, 1<<20))
	_, rest, ok := bytes.Cut(text, []byte("<Pages>"))
	if !ok {
		return 0
	}
	digits, _, _ := bytes.Cut(rest[:min(len(rest), 16)], []byte("<"))
	n, err := strconv.Atoi(string(digits))
	if err != nil || n < 0 || n > 1_000_000 {
		return 0
	}
	return n
}
