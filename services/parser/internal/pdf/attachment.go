package pdf

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// maxAttachments bounds the files in a file where its limits say nothing.
const maxAttachments = 1_000

// attachment is a file embedded in the document (ISO 32000-1, 7.11.4): added by
// hand, the data of a hybrid invoice, or all there is in a portfolio.
type attachment struct {
	name, media string
	data        []byte
}

// attachments reads the files embedded in the document: those of its list, and those
// that only the document, a page or another object names as its own.
func (f *file) attachments(ctx context.Context, d *document) error {
	if err := f.listed(ctx, d); err != nil {
		return err
	}
	if more, err := f.listAssociated(ctx, d); err != nil || !more {
		return err
	}
	return f.listed(ctx, d)
}

// listed reads the files in the document's list. pdfium unpacks them within
// its own memory; what does not fit there is warned of.
func (f *file) listed(ctx context.Context, d *document) error {
	n, err := f.instance.FPDFDoc_GetAttachmentCount(&requests.FPDFDoc_GetAttachmentCount{Document: f.doc})
	if err != nil || n.AttachmentCount <= 0 {
		if err != nil && trapped(err) {
			d.warnings = append(d.warnings, "files are attached that cannot be read: "+brief(err))
			return f.restart(ctx)
		}
		return nil
	}
	most := f.in.Limits.Files
	if most <= 0 {
		most = maxAttachments
	}
	most = max(0, most-len(d.attached))
	if n.AttachmentCount > most {
		d.warnings = append(d.warnings, fmt.Sprintf("of %d attached files %d are read", n.AttachmentCount, most))
	}
	for i := range min(n.AttachmentCount, most) {
		if ctx.Err() != nil {
			return stopped(ctx.Err(), f.in.Name, f.pages, f.pages)
		}
		got, err := f.instance.FPDFDoc_GetAttachment(&requests.FPDFDoc_GetAttachment{Document: f.doc, Index: i})
		if err == nil {
			err = f.attach(d, got.Attachment)
		}
		switch {
		case errors.Is(err, format.ErrSpent):
			return err
		case err != nil && trapped(err):
			if err := f.restart(ctx); err != nil {
				return stopped(err, f.in.Name, f.pages, f.pages)
			}
		}
	}
	return nil
}

// attach reads an attached file. What cannot be read is a warning; an error is a
// crash, or the end of what the document may unpack to.
func (f *file) attach(d *document, ref references.FPDF_ATTACHMENT) error {
	name := fmt.Sprintf("file %d", len(d.attached)+1)
	if r, err := f.instance.FPDFAttachment_GetName(&requests.FPDFAttachment_GetName{Attachment: ref}); err == nil {
		if s := fileName(r.Name); s != "" {
			name = s
		}
	} else if trapped(err) {
		return err
	}
	var media string
	if r, err := f.instance.FPDFAttachment_GetSubtype(&requests.FPDFAttachment_GetSubtype{Attachment: ref}); err == nil {
		if r.Subtype != nil {
			media = clean(*r.Subtype)
		}
	} else if trapped(err) {
		return err
	}
	r, err := f.instance.FPDFAttachment_GetFile(&requests.FPDFAttachment_GetFile{Attachment: ref})
	if err != nil {
		d.warnings = append(d.warnings, fmt.Sprintf("the attached file %s cannot be read: %s", name, brief(err)))
		return ifTrapped(err)
	}
	if len(r.Contents) == 0 {
		d.warnings = append(d.warnings, fmt.Sprintf("the attached file %s is empty", name))
		return nil
	}
	// The list of attached files and a mark on a page may be of the same file.
	sum := sha256.Sum256(r.Contents)
	if d.attachedSums[sum] {
		return nil
	}
	if d.attachedSums == nil {
		d.attachedSums = map[[sha256.Size]byte]bool{}
	}
	d.attachedSums[sum] = true
	d.attachedSize += int64(len(r.Contents))
	if limit := f.in.Limits.Expanded; limit > 0 && d.attachedSize > limit {
		return fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "%s: the files attached to it have more than %d MiB", f.in.Name, max(limit, 1<<20)>>20).
			WithHint("submit the attached files one by one, or raise --parser-max-expanded")
	}
	d.attached = append(d.attached, attachment{name, media, r.Contents})
	return nil
}

// fileName returns the last part of a path of any system, as one line.
func fileName(s string) string {
	s = md.Line(clean(s))
	if s = path.Base(strings.ReplaceAll(s, `\`, "/")); s == "." || s == "/" {
		return ""
	}
	const longest = 200
	if r := []rune(s); len(r) > longest {
		s = string(r[len(r)-longest:]) // the end says what it is
	}
	return s
}

// convertAttached reads the attached files as documents of their own, below a
// heading that names each. No pdfium is held while it does: they may be PDF files.
func (d *document) convertAttached(ctx context.Context, in format.Input) (*format.Members, error) {
	files := format.NewMembers(in)
	for i := range d.attached {
		a := &d.attached[i]
		member := format.Input{Name: in.Name + "/" + a.name, ContentType: a.media, Data: a.data}
		a.data = nil
		if err := files.Read(ctx, 2, "Attachment: "+a.name, member); err != nil {
			return nil, err
		}
	}
	return files, nil
}
