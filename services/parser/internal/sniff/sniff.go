// Package sniff says what format a document has.
//
// For binary formats the content decides, whatever the name says: people rename
// files. For text formats the name decides, because the content cannot: any CSV
// is a text, and any text is Markdown. Content overrules a text name only where
// it leaves no doubt, as for a web page that calls itself a spreadsheet.
package sniff

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
	"sluice/services/parser/internal/mail"
)

// Detect returns the format and the media type of a document. Name and content
// type are hints and may be empty. It looks at a bounded part of the data,
// except for the directory of an archive.
func Detect(name, contentType string, data []byte) (*format.Format, string) {
	ext := strings.ToLower(path.Ext(name))
	hint := format.MediaType(contentType)
	if kind, media, ok := binaryKind(ext, hint, data); ok {
		return known(kind, media)
	}
	if isText(data) {
		return known(textKind(ext, hint, data))
	}
	media := mimetype.Detect(data).String()
	media, _, _ = strings.Cut(media, ";")
	if strings.HasPrefix(media, "text/") || media == "application/json" {
		media = "application/octet-stream" // text, but for most of its bytes
	}
	return unread(media), media
}

func known(f *format.Format, media string) (*format.Format, string) {
	if media == "" {
		media = f.Media
	}
	return f, media
}

// unread returns the row of a media type that nobody here reads.
func unread(media string) *format.Format {
	if f := formats.ByMedia(media); f != nil && f.Read == nil {
		return f
	}
	group, _, _ := strings.Cut(media, "/")
	if f := formats.ByMedia(group + "/*"); f != nil {
		return f
	}
	return formats.Unsupported
}

// binaryKind recognises the formats that begin with a signature of their own.
func binaryKind(ext, hint string, data []byte) (*format.Format, string, bool) {
	switch {
	case bytes.HasPrefix(data, []byte("%PDF-")):
		return formats.PDF, "", true
	case bytes.HasPrefix(data, []byte("PK\x03\x04")), bytes.HasPrefix(data, []byte("PK\x05\x06")):
		kind, media := insideZIP(ext, data)
		return kind, media, true
	case bytes.HasPrefix(data, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		kind, media := insideOLE(ext, data)
		return kind, media, true
	case bytes.HasPrefix(bytes.TrimLeft(data[:min(len(data), 64)], " \t\r\n\xef\xbb\xbf"), []byte(`{\rtf`)):
		return formats.RTF, "", true
	case mail.IsTNEF(data):
		return formats.TNEF, "", true
	case mail.IsPKCS7(data):
		return formats.PKCS7, "", true
	case bytes.HasPrefix(data, []byte("%!PS")):
		return formats.PostScript, "", true
	}
	// Mail gateways and printers put lines before the header of a PDF; its
	// readers look for it in the first 1,024 bytes.
	if i := bytes.Index(data[:min(len(data), 1024)], []byte("%PDF-")); i > 0 && (ext == ".pdf" || hint == "application/pdf" || !isText(data)) {
		return formats.PDF, "", true
	}
	return nil, "", false
}

// insideZIP tells the formats that are ZIP archives apart.
func insideZIP(ext string, data []byte) (*format.Format, string) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		// Truncated: its own reader says so best.
		if kind, ok := officeExtension(ext); ok {
			return kind, ""
		}
		return formats.ZIP, ""
	}
	var ooxml, word, slides, sheets, binarySheets, visio, container, iwork bool
	for i, f := range r.File {
		switch name := f.Name; {
		case name == "mimetype" && i < 10:
			if kind, media, ok := openDocument(f); ok {
				return kind, media
			}
		case name == "[Content_Types].xml":
			ooxml = true
		case strings.HasPrefix(name, "word/"):
			word = true
		case strings.HasPrefix(name, "ppt/"):
			slides = true
		case name == "xl/workbook.bin":
			binarySheets = true
		case strings.HasPrefix(name, "xl/"):
			sheets = true
		case strings.HasPrefix(name, "visio/"):
			visio = true
		case name == "META-INF/container.xml":
			container = true
		case strings.HasPrefix(name, "Index/") && strings.HasSuffix(name, ".iwa"), name == "index.apxl":
			iwork = true
		}
	}
	switch {
	case ooxml && binarySheets:
		return formats.XLSB, ""
	case ooxml && word:
		return formats.DOCX, ""
	case ooxml && slides:
		return formats.PPTX, ""
	case ooxml && sheets:
		return formats.XLSX, ""
	case ooxml && visio:
		return formats.Unsupported, "application/vnd.ms-visio.drawing.main+xml"
	case ooxml: // its main part is missing: the reader of what it claims to be says so
		if kind, ok := officeExtension(ext); ok {
			return kind, ""
		}
	case container:
		return formats.EPUB, ""
	case iwork:
		return formats.IWork, ""
	}
	return formats.ZIP, ""
}

// officeExtension returns what an archive claims to be by its name.
func officeExtension(ext string) (*format.Format, bool) {
	f := formats.ByExtension(ext)
	switch f {
	case formats.DOCX, formats.PPTX, formats.XLSX, formats.ODT, formats.ODS, formats.ODP, formats.EPUB:
		return f, true
	}
	return nil, false
}

// openDocument reads the member by which OpenDocument and EPUB say what they are.
func openDocument(f *zip.File) (*format.Format, string, bool) {
	rc, err := f.Open()
	if err != nil {
		return nil, "", false
	}
	defer rc.Close() // only read from
	b, err := io.ReadAll(io.LimitReader(rc, 200))
	if err != nil {
		return nil, "", false
	}
	media := strings.TrimSpace(string(b))
	switch base := strings.TrimSuffix(media, "-template"); base {
	case formats.ODT.Media:
		return formats.ODT, "", true
	case formats.ODS.Media:
		return formats.ODS, "", true
	case formats.ODP.Media:
		return formats.ODP, "", true
	case formats.EPUB.Media:
		return formats.EPUB, "", true
	}
	if strings.HasPrefix(media, "application/vnd.oasis.opendocument.") && len(media) < 80 {
		return formats.Unsupported, media, true
	}
	return nil, "", false
}

// insideOLE tells the formats apart that are compound files ([MS-CFB]): by the
// class of the root, else by the streams that only they have.
//
// It scans for directory entries instead of following the chains that lead to
// them: it needs names, and hostile chains lead in circles.
func insideOLE(ext string, data []byte) (*format.Format, string) {
	const (
		entry    = 128 // bytes of a directory entry
		nameSize = 64
		rootType = 5
	)
	found := map[string]bool{}
	var class []byte
	for at := 512; at+entry <= len(data); at += entry {
		e := data[at : at+entry]
		size, kind := int(binary.LittleEndian.Uint16(e[nameSize:])), e[nameSize+2]
		if size < 4 || size > nameSize || size%2 != 0 || kind != 1 && kind != 2 && kind != rootType || e[size-1] != 0 || e[size-2] != 0 {
			continue
		}
		name := make([]byte, 0, nameSize/2)
		for i := 0; i < size-2 && e[i+1] == 0 && e[i] < utf8.RuneSelf; i += 2 {
			name = append(name, e[i])
		}
		switch s := string(name); s {
		case "Root Entry":
			if kind == rootType && class == nil {
				class = e[80:96]
			}
		case "EncryptedPackage", "EncryptionInfo", "__properties_version1.0", "WordDocument", "Workbook", "Book", "PowerPoint Document", "VisioDocument":
			found[s] = true
		}
	}
	if found["EncryptedPackage"] && found["EncryptionInfo"] {
		return formats.Encrypted, ""
	}
	if len(class) == 16 {
		// The class IDs begin with these four bytes, little-endian.
		switch binary.LittleEndian.Uint32(class) {
		case 0x00020906:
			return formats.DOC, ""
		case 0x00020820, 0x00020810:
			return formats.XLS, ""
		case 0x64818d10:
			return formats.PPT, ""
		case 0x00020d0b:
			return formats.MSG, ""
		}
	}
	switch {
	case found["__properties_version1.0"]:
		return formats.MSG, ""
	case found["WordDocument"] && (ext != ".xls" || !found["Workbook"]):
		return formats.DOC, ""
	case found["PowerPoint Document"]:
		return formats.PPT, ""
	case found["Workbook"], found["Book"]:
		return formats.XLS, ""
	case found["VisioDocument"]:
		return formats.Unsupported, "application/vnd.visio"
	case ext == ".xls":
		return formats.XLS, ""
	case ext == ".msg":
		return formats.MSG, ""
	}
	return formats.Unsupported, "application/x-ole-storage"
}

// isText reports whether data is text in some charset: hardly any control
// characters among it. Compressed and executable data have some in every line.
func isText(data []byte) bool {
	if len(data) == 0 || charset.IsWide(data) {
		return true
	}
	const sample = 32 << 10
	head := data[:min(len(data), sample)]
	tail := data[max(len(data)-sample, len(head)):]
	controls, size := 0, len(head)+len(tail)
	for _, part := range [...][]byte{head, tail} {
		for _, c := range part {
			if c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != 0x1b || c == 0x7f {
				controls++
			}
		}
	}
	return controls <= 1 && size >= 8 && bytes.IndexByte(head, 0) < 0 || controls*50 <= size
}

// textKind chooses among the formats that are text.
func textKind(ext, hint string, data []byte) (*format.Format, string) {
	head := headOf(data)
	f := formats.ByExtension(ext)
	if f == nil || !isNamed(f) {
		if byHint := formats.ByMedia(hint); byHint != nil && isNamed(byHint) && (f == nil || !isNamed(f)) && byHint != formats.Plain {
			f = byHint
		}
	}
	if (f == nil || !isNamed(f) || f == formats.Plain || f == formats.EML) && mail.IsMbox(head) {
		return formats.Mbox, ""
	}
	switch f {
	case formats.SVG:
		return f, ""
	case formats.XML, formats.Feed, formats.JSON, formats.Notebook, formats.FlatODF:
		return refine(f, head)
	case formats.Plain, formats.CSV:
		if isPage(head) {
			return formats.HTML, "" // "exported as CSV", "exported as text"
		}
		if f == formats.CSV && ext != ".csv" && (ext == ".tsv" || ext == ".tab" || hint == "text/tab-separated-values") {
			return f, "text/tab-separated-values"
		}
		return f, ""
	}
	if f != nil && isNamed(f) {
		return f, ""
	}
	switch {
	case isPage(head), fragment.MatchString(head):
		return formats.HTML, ""
	case strings.HasPrefix(head, "<?xml"), strings.HasPrefix(head, "<office:document"), strings.HasPrefix(head, "<rss"), strings.HasPrefix(head, "<feed"), strings.HasPrefix(head, "<svg"):
		return refine(formats.XML, head)
	case (strings.HasPrefix(head, "{") || strings.HasPrefix(head, "[")) && isJSON(data):
		return refine(formats.JSON, head)
	case isMail(head):
		return formats.EML, ""
	case startsFold(head, "BEGIN:VCALENDAR"):
		return formats.Calendar, ""
	case startsFold(head, "BEGIN:VCARD"):
		return formats.Contacts, ""
	case isTable(head):
		return formats.CSV, ""
	case strings.HasPrefix(head, "# "), strings.HasPrefix(head, "## "), strings.HasPrefix(head, "---\n"):
		return formats.Markdown, ""
	}
	return formats.Plain, ""
}

// isNamed reports whether its name alone may make a text a format. A text with
// the name of a binary one is something else, as exports of databases are:
// "report.xls" is a web page or a table then.
func isNamed(f *format.Format) bool {
	switch f {
	case formats.EML, formats.Mbox, formats.PKCS7, formats.SVG:
		return true
	}
	return f.Text
}

func startsFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// headOf returns the beginning of a text as UTF-8, without white space before it.
func headOf(data []byte) string {
	const size = 8 << 10
	head := data[:min(len(data), size)]
	if charset.IsWide(data) {
		if t, err := charset.Decode(head, "", ""); err == nil {
			head = []byte(t.UTF8)
		}
	}
	return strings.TrimLeft(strings.TrimPrefix(string(head), "\uFEFF"), " \t\r\n")
}

// refine tells what XML or JSON a text is from its first element or keys.
func refine(kind *format.Format, head string) (*format.Format, string) {
	if kind == formats.JSON || kind == formats.Notebook {
		if kind == formats.Notebook || strings.HasPrefix(head, "{") && notebookKeys.MatchString(head) && strings.Contains(head, `"cell_type"`) {
			return formats.Notebook, ""
		}
		return formats.JSON, ""
	}
	m := rootElement.FindStringSubmatch(head)
	if m == nil {
		return kind, ""
	}
	switch strings.ToLower(m[1]) {
	case "rss":
		return formats.Feed, ""
	case "feed":
		return formats.Feed, "application/atom+xml"
	case "rdf":
		if strings.Contains(head, "http://purl.org/rss/1.0/") {
			return formats.Feed, ""
		}
	case "html":
		return formats.HTML, "application/xhtml+xml"
	case "svg":
		return formats.SVG, ""
	case "document":
		if strings.Contains(head, "urn:oasis:names:tc:opendocument:xmlns:office:1.0") {
			if m := officeMedia.FindStringSubmatch(head); m != nil {
				return formats.FlatODF, "application/vnd.oasis.opendocument." + m[1] + "-flat-xml"
			}
			return formats.FlatODF, ""
		}
	}
	return formats.XML, ""
}

var (
	officeMedia  = regexp.MustCompile(`mimetype\s*=\s*["']application/vnd\.oasis\.opendocument\.([a-z]{3,20})`)
	notebookKeys = regexp.MustCompile(`"cells"\s*:\s*\[`)
	rootElement  = regexp.MustCompile(`<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)[\s/>]`)
	pageStart    = regexp.MustCompile(`(?i)^(?:<\?xml[^>]*>\s*)?(?:<!--[\s\S]*?-->\s*)*(?:<!doctype\s+html|<html[\s>])`)
	fragment     = regexp.MustCompile(`(?i)^<(?:head|body|title|meta|div|p|h[1-6]|table|ul|ol|article|section|main|header|span|script|style|center|font|b|a|img|pre|blockquote)[\s>]`)
	mailHeader   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,60}:[ \t]?`)
)

func isPage(head string) bool { return pageStart.MatchString(head) }

// isJSON reports whether data ends as it begins. Its reader says what is wrong
// inside.
func isJSON(data []byte) bool {
	tail := bytes.TrimRight(data[max(0, len(data)-1024):], " \t\r\n\x00")
	if len(tail) == 0 {
		return false
	}
	last := tail[len(tail)-1]
	if last != '}' && last != ']' {
		return false
	}
	head := bytes.TrimLeft(data[:min(len(data), 512)], " \t\r\n\xef\xbb\xbf")
	if len(head) < 2 {
		return false
	}
	next := bytes.TrimLeft(head[1:], " \t\r\n")
	if len(next) == 0 {
		return true
	}
	if head[0] == '{' {
		return next[0] == '"' || next[0] == '}'
	}
	return bytes.IndexByte([]byte(`{["]-0123456789tfn`), next[0]) >= 0
}

// isMail reports whether a text begins with headers of an e-mail, those that
// others do not have among them.
func isMail(head string) bool {
	known, lines := 0, 0
	for line := range strings.Lines(head) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		if !mailHeader.MatchString(line) {
			return false
		}
		lines++
		key, _, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "received", "return-path", "message-id", "mime-version", "delivered-to", "dkim-signature", "x-mailer":
			known += 2
		case "from", "to", "subject", "date", "reply-to", "content-type":
			known++
		}
	}
	return lines >= 3 && known >= 3
}

// isTable reports whether a text without a name is delimiter-separated values:
// its lines all have the same number of delimiters, and several.
func isTable(head string) bool {
	lines := strings.Split(head, "\n")
	if len(lines) > 1 {
		lines = lines[:len(lines)-1] // the last may be cut
	}
	for _, d := range []string{"\t", ";", ","} {
		least := 2
		if d == "\t" {
			least = 1
		}
		width, rows := strings.Count(lines[0], d), 0
		for _, l := range lines {
			if strings.TrimSpace(l) == "" {
				continue
			}
			if strings.Count(l, d) != width || strings.Contains(l, d+" ") && d == "," {
				rows = -1
				break
			}
			rows++
		}
		if width >= least && rows >= 3 {
			return true
		}
	}
	return false
}

// Refuse returns the refusal of a document in a format that nobody here reads: a
// Validation fault with a reason, and a hint of its own.
func Refuse(f *format.Format, media, name string) *fault.Error {
	if name == "" {
		name = "the document"
	}
	r := f.Refusal
	if r.Reason == "encrypted" {
		return fault.Invalid(r.Reason, "%s is %s", name, r.What).WithHint("%s", r.Hint)
	}
	return fault.Invalid(r.Reason, "%s is %s (%s)", name, r.What, media).WithHint("%s", r.Hint)
}
