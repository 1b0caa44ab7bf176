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
	"mime"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
)

// Kind is a format, as far as the choice of its reader needs it.
type Kind uint8

// The kinds.
const (
	Unsupported Kind = iota // known or not, nobody here reads it: see Refuse
	Encrypted               // an Office document behind a password
	Plain
	Markdown
	HTML
	CSV
	JSON
	Notebook
	XML
	Feed // RSS, Atom
	EML
	ZIP
	PDF
	DOCX
	PPTX
	XLSX
	ODT
	ODS
	ODP
	EPUB
	RTF
	XLS
	MSG
)

var mediaTypes = [...]string{
	Encrypted: "application/x-ole-storage",
	Plain:     "text/plain",
	Markdown:  "text/markdown",
	HTML:      "text/html",
	CSV:       "text/csv",
	JSON:      "application/json",
	Notebook:  "application/x-ipynb+json",
	XML:       "application/xml",
	Feed:      "application/rss+xml",
	EML:       "message/rfc822",
	ZIP:       "application/zip",
	PDF:       "application/pdf",
	DOCX:      "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	PPTX:      "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	XLSX:      "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	ODT:       "application/vnd.oasis.opendocument.text",
	ODS:       "application/vnd.oasis.opendocument.spreadsheet",
	ODP:       "application/vnd.oasis.opendocument.presentation",
	EPUB:      "application/epub+zip",
	RTF:       "application/rtf",
	XLS:       "application/vnd.ms-excel",
	MSG:       "application/vnd.ms-outlook",
}

// Detect returns the kind and the media type of a document. Name and content
// type are hints and may be empty. It looks at a bounded part of the data,
// except for the directory of an archive.
func Detect(name, contentType string, data []byte) (Kind, string) {
	ext := strings.ToLower(path.Ext(name))
	hint, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		hint, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(contentType)), ";")
	}
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
	return Unsupported, media
}

func known(kind Kind, media string) (Kind, string) {
	if media == "" {
		media = mediaTypes[kind]
	}
	return kind, media
}

// binaryKind recognises the formats that begin with a signature of their own.
func binaryKind(ext, hint string, data []byte) (Kind, string, bool) {
	switch {
	case bytes.HasPrefix(data, []byte("%PDF-")):
		return PDF, "", true
	case bytes.HasPrefix(data, []byte("PK\x03\x04")), bytes.HasPrefix(data, []byte("PK\x05\x06")):
		kind, media := insideZIP(ext, data)
		return kind, media, true
	case bytes.HasPrefix(data, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		kind, media := insideOLE(ext, data)
		return kind, media, true
	case bytes.HasPrefix(bytes.TrimLeft(data[:min(len(data), 64)], " \t\r\n\xef\xbb\xbf"), []byte(`{\rtf`)):
		return RTF, "", true
	case bytes.HasPrefix(data, []byte("%!PS")):
		return Unsupported, "application/postscript", true
	}
	// Mail gateways and printers put lines before the header of a PDF; its
	// readers look for it in the first 1,024 bytes.
	if i := bytes.Index(data[:min(len(data), 1024)], []byte("%PDF-")); i > 0 && (ext == ".pdf" || hint == "application/pdf" || !isText(data)) {
		return PDF, "", true
	}
	return 0, "", false
}

// insideZIP tells the formats that are ZIP archives apart.
func insideZIP(ext string, data []byte) (Kind, string) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		// Truncated: its own reader says so best.
		if kind, ok := officeExtension(ext); ok {
			return kind, ""
		}
		return ZIP, ""
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
		return Unsupported, "application/vnd.ms-excel.sheet.binary.macroenabled.12"
	case ooxml && word:
		return DOCX, ""
	case ooxml && slides:
		return PPTX, ""
	case ooxml && sheets:
		return XLSX, ""
	case ooxml && visio:
		return Unsupported, "application/vnd.ms-visio.drawing.main+xml"
	case ooxml: // its main part is missing: the reader of what it claims to be says so
		if kind, ok := officeExtension(ext); ok {
			return kind, ""
		}
	case container:
		return EPUB, ""
	case iwork:
		return Unsupported, "application/vnd.apple.iwork"
	}
	return ZIP, ""
}

// officeExtension returns what an archive claims to be by its name.
func officeExtension(ext string) (Kind, bool) {
	switch ext {
	case ".docx", ".docm", ".dotx":
		return DOCX, true
	case ".pptx", ".pptm", ".ppsx":
		return PPTX, true
	case ".xlsx", ".xlsm", ".xltx":
		return XLSX, true
	case ".odt":
		return ODT, true
	case ".ods":
		return ODS, true
	case ".odp":
		return ODP, true
	case ".epub":
		return EPUB, true
	}
	return 0, false
}

// openDocument reads the member by which OpenDocument and EPUB say what they are.
func openDocument(f *zip.File) (Kind, string, bool) {
	rc, err := f.Open()
	if err != nil {
		return 0, "", false
	}
	defer rc.Close() // only read from
	b, err := io.ReadAll(io.LimitReader(rc, 200))
	if err != nil {
		return 0, "", false
	}
	media := strings.TrimSpace(string(b))
	switch base := strings.TrimSuffix(media, "-template"); base {
	case mediaTypes[ODT]:
		return ODT, "", true
	case mediaTypes[ODS]:
		return ODS, "", true
	case mediaTypes[ODP]:
		return ODP, "", true
	case mediaTypes[EPUB]:
		return EPUB, "", true
	}
	if strings.HasPrefix(media, "application/vnd.oasis.opendocument.") && len(media) < 80 {
		return Unsupported, media, true
	}
	return 0, "", false
}

// insideOLE tells the formats apart that are compound files ([MS-CFB]): by the
// class of the root, else by the streams that only they have.
//
// It scans for directory entries instead of following the chains that lead to
// them: it needs names, and hostile chains lead in circles.
func insideOLE(ext string, data []byte) (Kind, string) {
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
	const (
		doc = "application/msword"
		ppt = "application/vnd.ms-powerpoint"
	)
	if found["EncryptedPackage"] && found["EncryptionInfo"] {
		return Encrypted, ""
	}
	if len(class) == 16 {
		// The class IDs begin with these four bytes, little-endian.
		switch binary.LittleEndian.Uint32(class) {
		case 0x00020906:
			return Unsupported, doc
		case 0x00020820, 0x00020810:
			return XLS, ""
		case 0x64818d10:
			return Unsupported, ppt
		case 0x00020d0b:
			return MSG, ""
		}
	}
	switch {
	case found["__properties_version1.0"]:
		return MSG, ""
	case found["WordDocument"] && (ext != ".xls" || !found["Workbook"]):
		return Unsupported, doc
	case found["PowerPoint Document"]:
		return Unsupported, ppt
	case found["Workbook"], found["Book"]:
		return XLS, ""
	case found["VisioDocument"]:
		return Unsupported, "application/vnd.visio"
	case ext == ".xls":
		return XLS, ""
	case ext == ".msg":
		return MSG, ""
	}
	return Unsupported, "application/x-ole-storage"
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

var extensions = map[string]Kind{
	".md": Markdown, ".markdown": Markdown, ".mdown": Markdown, ".mkd": Markdown, ".mdx": Markdown, ".qmd": Markdown, ".rmd": Markdown,
	".html": HTML, ".htm": HTML, ".xhtml": HTML, ".xht": HTML,
	".csv": CSV, ".tsv": CSV, ".tab": CSV,
	".json": JSON, ".jsonl": JSON, ".ndjson": JSON, ".geojson": JSON, ".har": JSON, ".jsonld": JSON, ".webmanifest": JSON,
	".ipynb": Notebook,
	".xml":   XML, ".rss": Feed, ".atom": Feed, ".rdf": XML, ".xsd": XML, ".xsl": XML, ".xslt": XML, ".wsdl": XML, ".kml": XML, ".gpx": XML,
	".nxml": XML, ".dita": XML, ".docbook": XML, ".tei": XML, ".opml": XML, ".plist": XML,
	".eml": EML, ".mht": EML, ".mhtml": EML,
	".txt": Plain, ".text": Plain, ".log": Plain, ".rst": Plain, ".adoc": Plain, ".org": Plain, ".tex": Plain,
}

var hints = map[string]Kind{
	"text/markdown": Markdown, "text/x-markdown": Markdown,
	"text/html": HTML, "application/xhtml+xml": HTML,
	"text/csv": CSV, "text/tab-separated-values": CSV, "application/csv": CSV,
	"application/json": JSON, "text/json": JSON, "application/x-ndjson": JSON, "application/jsonl": JSON, "application/ld+json": JSON,
	"application/geo+json": JSON, "application/x-ipynb+json": Notebook,
	"text/xml": XML, "application/xml": XML, "application/rss+xml": Feed, "application/atom+xml": Feed,
	"message/rfc822": EML,
}

// textKind chooses among the formats that are text.
func textKind(ext, hint string, data []byte) (Kind, string) {
	head := headOf(data)
	kind, ok := extensions[ext]
	if !ok {
		kind, ok = hints[hint]
	}
	if ext == ".svg" || hint == "image/svg+xml" && !ok {
		return Unsupported, "image/svg+xml"
	}
	switch {
	case ok && (kind == XML || kind == Feed || kind == JSON || kind == Notebook):
		return refine(kind, head)
	case ok && kind == Plain, ok && kind == CSV:
		if isPage(head) {
			return HTML, "" // "exported as CSV", "exported as text"
		}
		if kind == CSV && ext != ".csv" && (ext == ".tsv" || ext == ".tab" || hint == "text/tab-separated-values") {
			return CSV, "text/tab-separated-values"
		}
		return kind, ""
	case ok:
		return kind, ""
	}
	// Program text and settings are text, whatever they begin with.
	if ext != "" && !isOffice(ext) && isTextExtension(ext) {
		return Plain, ""
	}
	switch {
	case isPage(head), fragment.MatchString(head):
		return HTML, ""
	case strings.HasPrefix(head, "<?xml"), strings.HasPrefix(head, "<rss"), strings.HasPrefix(head, "<feed"), strings.HasPrefix(head, "<svg"):
		return refine(XML, head)
	case (strings.HasPrefix(head, "{") || strings.HasPrefix(head, "[")) && isJSON(data):
		return refine(JSON, head)
	case isMail(head):
		return EML, ""
	case isTable(head):
		return CSV, ""
	case strings.HasPrefix(head, "# "), strings.HasPrefix(head, "## "), strings.HasPrefix(head, "---\n"):
		return Markdown, ""
	}
	return Plain, ""
}

// isTextExtension reports whether the system's names for extensions make it a
// text: it then stays one.
func isTextExtension(ext string) bool {
	switch ext {
	case ".yaml", ".yml", ".toml", ".ini", ".conf", ".cfg", ".env", ".properties", ".sql", ".sh", ".py", ".js", ".ts", ".go", ".c",
		".h", ".cpp", ".java", ".rb", ".php", ".pl", ".rs", ".css", ".scss", ".vue", ".jsx", ".tsx", ".kt", ".swift", ".scala",
		".lua", ".r", ".m", ".ps1", ".bat", ".srt", ".vtt", ".ics", ".vcf", ".diff", ".patch", ".proto", ".tf":
		return true
	}
	return false
}

// isOffice reports whether a text has the name of a binary format, as exports
// of databases do: "report.xls" is a web page or a table then.
func isOffice(ext string) bool {
	switch ext {
	case ".xls", ".xlsx", ".doc", ".docx", ".ppt", ".pptx":
		return true
	}
	return false
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
func refine(kind Kind, head string) (Kind, string) {
	if kind == JSON || kind == Notebook {
		if kind == Notebook || strings.HasPrefix(head, "{") && notebookKeys.MatchString(head) && strings.Contains(head, `"cell_type"`) {
			return Notebook, ""
		}
		return JSON, ""
	}
	m := rootElement.FindStringSubmatch(head)
	if m == nil {
		return kind, ""
	}
	switch strings.ToLower(m[1]) {
	case "rss":
		return Feed, ""
	case "feed":
		return Feed, "application/atom+xml"
	case "rdf":
		if strings.Contains(head, "http://purl.org/rss/1.0/") {
			return Feed, ""
		}
	case "html":
		return HTML, "application/xhtml+xml"
	case "svg":
		return Unsupported, "image/svg+xml"
	}
	return XML, ""
}

var (
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

// Refuse returns the refusal of a document of a media type that nobody here
// reads: a Validation fault with a reason, and a hint of its own.
func Refuse(kind Kind, media, name string) *fault.Error {
	if name == "" {
		name = "the document"
	}
	if kind == Encrypted {
		return fault.Invalid("encrypted", "%s is protected by a password", name).
			WithHint("save it without a password and submit it again")
	}
	what, hint := "a format that is not supported", "convert it to PDF, DOCX, HTML or plain text"
	group, _, _ := strings.Cut(media, "/")
	switch group {
	case "image":
		what, hint = "an image", "run text recognition (OCR) on it first, or use a parser service that reads images"
	case "audio", "video":
		what, hint = "an "+group+" file", "submit its transcript"
		if group == "video" {
			what = "a video file"
		}
	case "font":
		what, hint = "a font", "leave fonts out"
	}
	switch media {
	case "application/msword":
		what, hint = "a Word document in the format of Word 97 to 2003", "save it as .docx"
	case "application/vnd.ms-powerpoint":
		what, hint = "a presentation in the format of PowerPoint 97 to 2003", "save it as .pptx"
	case "application/vnd.ms-excel.sheet.binary.macroenabled.12":
		what, hint = "a binary Excel workbook (.xlsb)", "save it as .xlsx"
	case "application/vnd.apple.iwork":
		what, hint = "a document of Pages, Numbers or Keynote", "export it as PDF or in an Office format"
	case "application/gzip", "application/x-7z-compressed", "application/vnd.rar", "application/x-tar", "application/x-xz",
		"application/x-bzip2", "application/zstd", "application/vnd.ms-cab-compressed", "application/lzip", "application/x-cpio":
		what, hint = "an archive of a kind that is not unpacked here", "submit its files one by one, or in a ZIP archive"
	case "application/vnd.microsoft.portable-executable", "application/x-elf", "application/x-executable", "application/x-sharedlib",
		"application/x-mach-binary", "application/wasm", "application/x-object", "application/java-archive", "application/x-java-applet":
		what, hint = "a program", "submit documents only"
	case "application/postscript":
		what, hint = "PostScript", "convert it to PDF"
	case "image/svg+xml":
		what, hint = "an SVG drawing", "submit the document it illustrates"
	case "application/octet-stream":
		what, hint = "binary data of no known format", "check that the file is what its name says"
	case "application/vnd.sqlite3", "application/x-msaccess", "application/vnd.apache.parquet", "application/x-dbf":
		what, hint = "a database", "export its tables as CSV"
	}
	return fault.Invalid("unsupported", "%s is %s (%s)", name, what, media).WithHint("%s", hint)
}
