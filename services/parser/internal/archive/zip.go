// Package archive reads archives: every file in them as a document of its own.
package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// ZIP reads an archive: each member that can be read, under a heading with its
// name. Sizes are counted as they unpack, whatever the headers say.
func ZIP(ctx context.Context, in format.Input) (*format.Output, error) {
	r, err := zip.NewReader(bytes.NewReader(in.Data), int64(len(in.Data)))
	if err != nil {
		return nil, format.Corrupt(err, format.NameOf(in), "it is not a readable ZIP archive")
	}
	var members []*zip.File
	for _, f := range r.File {
		if isMember(f) {
			members = append(members, f)
		}
	}
	if len(members) == 0 {
		return nil, fault.Invalid("empty", "the archive %s holds no files", format.NameOf(in)).
			WithHint("check that the right archive was submitted")
	}
	if most := in.Limits.Files; most > 0 && len(members) > most {
		return nil, fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "the archive %s holds %d files, more than %d", format.NameOf(in), len(members), most).
			WithHint("split the archive, or raise the parser's limit on files")
	}

	files := format.NewMembers(in)
	left := in.Limits.Expanded
	if left <= 0 {
		left = 200 << 20
	}
	for _, f := range members {
		if ctx.Err() != nil {
			return nil, format.Ended(ctx, format.NameOf(in))
		}
		name := memberName(f)
		whole := format.NameOf(in) + "/" + name
		data, err := unpack(ctx, f, whole, left)
		if left -= int64(len(data)); left <= 0 {
			return nil, expanded(in)
		}
		if err != nil {
			err = files.Refuse(ctx, err)
		} else {
			err = files.Read(ctx, 2, "File: "+name, format.Input{Name: whole, Data: data})
		}
		if err != nil {
			return nil, err
		}
	}
	if err := files.Refused(); err != nil {
		return nil, err
	}
	return files.Output(""), nil
}

// isMember leaves out folders and what operating systems add by themselves.
func isMember(f *zip.File) bool {
	if strings.HasSuffix(f.Name, "/") || strings.HasPrefix(f.Name, "__MACOSX/") {
		return false
	}
	switch path.Base(f.Name) {
	case ".DS_Store", "Thumbs.db", "desktop.ini":
		return false
	}
	return true
}

// memberName returns the name of a member as UTF-8. Old archives have names in
// the code page of whoever wrote them.
func memberName(f *zip.File) string {
	name := f.Name
	if f.NonUTF8 {
		if t, err := charset.Decode([]byte(name), "", ""); err == nil {
			name = t.UTF8
		}
	}
	return md.Line(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(strings.ReplaceAll(name, `\`, "/"), "\uFFFD")))
}

// unpack returns the bytes of a member whose whole name is given: at most one more
// than left. What came out is returned also where it fails.
func unpack(ctx context.Context, f *zip.File, whole string, left int64) ([]byte, error) {
	const encryptedFlag = 1
	if f.Flags&encryptedFlag != 0 {
		return nil, fault.Invalid("encrypted", "%s is encrypted", whole).
			WithHint("submit the archive without a password")
	}
	rc, err := f.Open()
	if err != nil {
		if errors.Is(err, zip.ErrAlgorithm) {
			return nil, fault.Invalid("unsupported", "%s is compressed by method %d, which is not supported", whole, f.Method).
				WithHint("pack the archive with the usual compression (deflate)")
		}
		return nil, format.Corrupt(err, whole, "it cannot be unpacked")
	}
	defer rc.Close() // only read from: nothing to lose
	data, err := readAtMost(ctx, rc, left)
	if err != nil {
		err = format.Corrupt(err, whole, "it cannot be unpacked")
	}
	return data, err
}

// readAtMost reads r to its end, or one byte past limit.
func readAtMost(ctx context.Context, r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	const step = 1 << 20
	for int64(b.Len()) <= limit {
		if ctx.Err() != nil {
			return b.Bytes(), ctx.Err()
		}
		_, err := io.CopyN(&b, r, min(step, limit+1-int64(b.Len())))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b.Bytes(), err
		}
	}
	return b.Bytes(), nil
}

func expanded(in format.Input) error {
	return fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "%s unpacks to more than %d MiB", format.NameOf(in), max(in.Limits.Expanded, 1<<20)>>20).
		WithHint("split the archive, or raise the parser's limit on expansion")
}
