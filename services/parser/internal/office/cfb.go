package office

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/richardlehane/mscfb"
)

// cfbMagic begins every compound file (MS-CFB 2.2).
var cfbMagic = []byte{0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1}

// compound is a compound file: storages and streams, like folders and files.
type compound struct {
	*job
	files map[string]*mscfb.File // by lower-case path, "/" between storages
	names []string               // the paths as they are, in order
}

func openCompound(j *job) (*compound, error) {
	if err := j.alive(); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(j.in.Data, cfbMagic) {
		return nil, j.corrupt(errors.New("not a compound file"), "its beginning")
	}
	c := &compound{job: j, files: map[string]*mscfb.File{}}
	err := j.guard("the directory of the compound file", func() error {
		r, err := mscfb.New(bytes.NewReader(j.in.Data))
		if err != nil {
			return err
		}
		if limit := j.in.Limits.Files; limit > 0 && len(r.File) > limit {
			return j.tooLarge("files", "holds more than %d streams", limit)
		}
		for _, f := range r.File {
			path := append(slices.Clone(f.Path), strings.TrimPrefix(f.Name, "\x05")) // property sets
			name := strings.Join(path, "/")
			key := strings.ToLower(name)
			if _, dup := c.files[key]; !dup {
				c.files[key] = f
				c.names = append(c.names, name)
			}
		}
		return nil
	})
	return c, j.corrupt(err, "the directory of the compound file")
}

func (c *compound) has(name string) bool { return c.files[strings.ToLower(name)] != nil }

// read returns a stream, and nothing for one that is not there.
func (c *compound) read(name string) ([]byte, error) {
	f := c.files[strings.ToLower(name)]
	if f == nil || f.Size <= 0 {
		return nil, nil
	}
	// A stream is a chain of sectors of this file: more than the file is a cycle.
	if f.Size > int64(len(c.in.Data)) {
		return nil, c.corrupt(errors.New("longer than the file"), "stream "+name)
	}
	if err := c.unpack(int(f.Size)); err != nil {
		return nil, err
	}
	b := make([]byte, f.Size)
	err := c.guard("stream "+name, func() error {
		_, err := io.ReadFull(f, b)
		return err
	})
	if err != nil {
		return nil, c.corrupt(err, "stream "+name)
	}
	return b, nil
}

// notZIP says what a compound file is that was submitted as a newer format.
func (j *job) notZIP() error {
	c, err := openCompound(j)
	if err != nil {
		return err
	}
	switch {
	case c.has("EncryptedPackage"):
		return j.encrypted("password of the office suite")
	case c.has("WordDocument"):
		return j.unsupported("is a Word 97-2003 document", "save it as .docx")
	case c.has("PowerPoint Document"):
		return j.unsupported("is a PowerPoint 97-2003 presentation", "save it as .pptx")
	case c.has("Workbook"), c.has("Book"):
		return j.unsupported("is an Excel 97-2003 workbook under another name", "name it .xls")
	}
	return j.unsupported("is a compound file of an unknown program", "save it in a current format")
}

// summary reads title, author and dates from the property set that office
// programs keep in compound files (MS-OLEPS 2.21).
func (c *compound) summary() error {
	const title, author, created, saved, page = 2, 4, 12, 13, 1
	d, err := c.read("SummaryInformation")
	if err := c.optional(err, "the properties of the document"); err != nil {
		return err
	}
	if len(d) < 48 {
		return nil
	}
	start := int(le.Uint32(d[44:]))
	if start < 0 || start+8 > len(d) {
		return nil
	}
	d = d[start:]
	count := int(min(le.Uint32(d[4:]), 64))
	codepage := 1252
	for range 2 { // the code page may come after the strings that need it
		for i := range count {
			if 8+8*i+8 > len(d) {
				break
			}
			id, off := le.Uint32(d[8+8*i:]), int(le.Uint32(d[12+8*i:]))
			if off < 0 || off+8 > len(d) {
				continue
			}
			switch v := d[off:]; id {
			case page:
				codepage = int(le.Uint16(v[4:]))
			case title:
				c.facts.Title = propertyText(v, codepage)
			case author:
				c.facts.Author = propertyText(v, codepage)
			case created:
				c.facts.Created = propertyTime(v)
			case saved:
				c.facts.Modified = propertyTime(v)
			}
		}
	}
	return nil
}

func propertyText(v []byte, codepage int) string {
	const ansi, wide = 30, 31
	n := int(min(le.Uint32(v[4:]), 1<<16))
	switch le.Uint32(v) {
	case wide:
		return strings.Trim(utf16LE(v[8:min(8+2*n, len(v))]), "\x00 ")
	case ansi:
		return strings.Trim(decode(codePage(codepage), v[8:min(8+n, len(v))]), "\x00 ")
	}
	return ""
}

func propertyTime(v []byte) string {
	const filetime = 64
	if le.Uint32(v) != filetime || len(v) < 12 {
		return ""
	}
	return fromFiletime(le.Uint64(v[4:]))
}

// fromFiletime returns 100 ns since 1601 as RFC 3339.
func fromFiletime(t uint64) string {
	const to1970 = 11644473600 // seconds
	if t == 0 || t > 1<<62 {
		return ""
	}
	return timestamp(time.Unix(int64(t/1e7)-to1970, 0).UTC().Format(time.RFC3339))
}
