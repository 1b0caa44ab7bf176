package office

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/richardlehane/mscfb"
)

// cfbMagic begins every compound file (MS-CFB 2.2).
var cfbMagic = []byte{0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1}

// Compound is a compound file: storages and streams, like folders and files.
type Compound struct {
	*Job
	files map[string]*mscfb.File // by lower-case path, "/" between storages
	Names []string               // the paths as they are, in order
}

// OpenCompound reads the directory of the compound file that a job is about.
func OpenCompound(j *Job) (*Compound, error) {
	if err := j.Alive(); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(j.In.Data, cfbMagic) {
		return nil, j.Corrupt(errors.New("not a compound file"), "its beginning")
	}
	c := &Compound{Job: j, files: map[string]*mscfb.File{}}
	err := j.guard("the directory of the compound file", func() error {
		r, err := mscfb.New(bytes.NewReader(j.In.Data))
		if err != nil {
			return err
		}
		if limit := j.In.Limits.Files; limit > 0 && len(r.File) > limit {
			return j.tooLarge("files", "holds more than %d streams", limit)
		}
		for _, f := range r.File {
			path := append(slices.Clone(f.Path), strings.TrimPrefix(f.Name, "\x05")) // property sets
			name := strings.Join(path, "/")
			key := strings.ToLower(name)
			if _, dup := c.files[key]; !dup {
				c.files[key] = f
				c.Names = append(c.Names, name)
			}
		}
		return nil
	})
	return c, j.Corrupt(err, "the directory of the compound file")
}

// Has reports whether there is such a stream.
func (c *Compound) Has(name string) bool { return c.files[strings.ToLower(name)] != nil }

// Read returns a stream, and nothing for one that is not there.
func (c *Compound) Read(name string) ([]byte, error) {
	f := c.files[strings.ToLower(name)]
	if f == nil || f.Size <= 0 {
		return nil, nil
	}
	// A stream is a chain of sectors of this file: more than the file is a cycle.
	if f.Size > int64(len(c.In.Data)) {
		return nil, c.Corrupt(errors.New("longer than the file"), "stream "+name)
	}
	if err := c.Unpack(int(f.Size)); err != nil {
		return nil, err
	}
	b := make([]byte, f.Size)
	err := c.guard("stream "+name, func() error {
		_, err := io.ReadFull(f, b)
		return err
	})
	if err != nil {
		return nil, c.Corrupt(err, "stream "+name)
	}
	return b, nil
}

// NotZIP says what a compound file is that was submitted as a newer format.
func (j *Job) NotZIP() error {
	c, err := OpenCompound(j)
	if err != nil {
		return err
	}
	switch {
	case c.Has("EncryptedPackage"):
		return j.Encrypted("password of the office suite")
	case c.Has("WordDocument"):
		return j.Unsupported("is a Word 97-2003 document", "save it as .docx")
	case c.Has("PowerPoint Document"):
		return j.Unsupported("is a PowerPoint 97-2003 presentation", "save it as .pptx")
	case c.Has("Workbook"), c.Has("Book"):
		return j.Unsupported("is an Excel 97-2003 workbook under another name", "name it .xls")
	}
	return j.Unsupported("is a compound file of an unknown program", "save it in a current format")
}

// Summary reads title, author and dates from the property set that office
// programs keep in compound files (MS-OLEPS 2.21).
func (c *Compound) Summary() error {
	const title, author, created, saved, page = 2, 4, 12, 13, 1
	d, err := c.Read("SummaryInformation")
	if err := c.Optional(err, "the properties of the document"); err != nil {
		return err
	}
	if len(d) < 48 {
		return nil
	}
	start := int(Le.Uint32(d[44:]))
	if start < 0 || start+8 > len(d) {
		return nil
	}
	d = d[start:]
	count := int(min(Le.Uint32(d[4:]), 64))
	codepage := 1252
	for range 2 { // the code page may come after the strings that need it
		for i := range count {
			if 8+8*i+8 > len(d) {
				break
			}
			id, off := Le.Uint32(d[8+8*i:]), int(Le.Uint32(d[12+8*i:]))
			if off < 0 || off+8 > len(d) {
				continue
			}
			switch v := d[off:]; id {
			case page:
				codepage = int(Le.Uint16(v[4:]))
			case title:
				c.Facts.Title = propertyText(v, codepage)
			case author:
				c.Facts.Author = propertyText(v, codepage)
			case created:
				c.Facts.Created = propertyTime(v)
			case saved:
				c.Facts.Modified = propertyTime(v)
			}
		}
	}
	return nil
}

func propertyText(v []byte, codepage int) string {
	const ansi, wide = 30, 31
	n := int(min(Le.Uint32(v[4:]), 1<<16))
	switch Le.Uint32(v) {
	case wide:
		return strings.Trim(Utf16LE(v[8:min(8+2*n, len(v))]), "\x00 ")
	case ansi:
		return strings.Trim(Decode(CodePage(codepage), v[8:min(8+n, len(v))]), "\x00 ")
	}
	return ""
}

func propertyTime(v []byte) string {
	const filetime = 64
	if Le.Uint32(v) != filetime || len(v) < 12 {
		return ""
	}
	return FromFiletime(Le.Uint64(v[4:]))
}

// FromFiletime returns 100 ns since 1601 as RFC 3339.
func FromFiletime(t uint64) string {
	const to1970 = 11644473600 // seconds
	if t == 0 || t > 1<<62 {
		return ""
	}
	return Timestamp(time.Unix(int64(t/1e7)-to1970, 0).UTC().Format(time.RFC3339))
}

// Le is the byte order of compound files and of what is in them.
var Le = binary.LittleEndian
