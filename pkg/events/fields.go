package events

// What the bodies that travel by the ten thousand are on the wire, field by
// field in the order of their structs. Package encoding/json with the tags of
// the structs says the same, and is what both directions are tested against.

func (p *Parsed) fields(c *codec) {
	number(c, "v", &p.V, always)
	p.About.fields(c)
	text(c, "markdown", &p.Markdown, always)
	list(c, "page_marks", &p.Pages, func(m *PageMark) {
		c.open()
		number(c, "page", &m.Page, always)
		number(c, "offset", &m.Offset, always)
		c.close()
	})
}

func (a *About) fields(c *codec) {
	text(c, "document", &a.Document, always)
	number(c, "revision", &a.Revision, always)
	text(c, "tenant", &a.Tenant, always)
	text(c, "name", &a.Name, omitempty)
	text(c, "content_hash", &a.ContentHash, always)
	text(c, "fingerprint", &a.Fingerprint, always)
	text(c, "parser", &a.Parser, omitempty)
	c.flag("degraded", &a.Degraded)
	number(c, "bytes", &a.Bytes, always)
	c.time("submitted", &a.Submitted)
	if c.key("facts", always, false) {
		c.open()
		a.Facts.fields(c)
		c.close()
	}
	c.pairs("meta", &a.Meta)
	list(c, "warnings", &a.Warnings, c.string)
	number(c, "nano", &a.Nano, omitempty)
}

func (f *Facts) fields(c *codec) {
	text(c, "type", &f.Type, omitempty)
	text(c, "title", &f.Title, omitempty)
	text(c, "author", &f.Author, omitempty)
	text(c, "created", &f.Created, omitempty)
	text(c, "modified", &f.Modified, omitempty)
	text(c, "language", &f.Language, omitempty)
	number(c, "pages", &f.Pages, omitempty)
}

func (k *Chunk) fields(c *codec) {
	number(c, "v", &k.V, always)
	text(c, "id", &k.ID, always)
	text(c, "document", &k.Document, always)
	number(c, "revision", &k.Revision, always)
	text(c, "tenant", &k.Tenant, always)
	number(c, "ordinal", &k.Ordinal, always)
	number(c, "of", &k.Of, always)
	text(c, "text", &k.Text, always)
	list(c, "headings", &k.Headings, c.string)
	text(c, "header", &k.Header, omitempty)
	text(c, "language", &k.Language, omitempty)
	number(c, "start", &k.Start, always)
	number(c, "end", &k.End, always)
	number(c, "page", &k.Page, omitempty)
	number(c, "tokens", &k.Tokens, always)
	number(c, "input_tokens", &k.InputTokens, always)
	object(c, "about", &k.About)
}

func (v *Vector) fields(c *codec) {
	v.Chunk.fields(c)
	text(c, "model", &v.Model, always)
	c.binary("embedding", &v.Embedding)
	number(c, "nano", &v.Nano, always)
	c.flag("reused", &v.Reused)
	c.flag("degraded", &v.Degraded)
}

func (e *Event) fields(c *codec) {
	number(c, "v", &e.V, always)
	text(c, "what", &e.What, always)
	text(c, "document", &e.Document, always)
	number(c, "revision", &e.Revision, always)
	number(c, "sequence", &e.Sequence, omitempty)
	text(c, "tenant", &e.Tenant, omitempty)
	text(c, "name", &e.Name, omitempty)
	text(c, "correlation_id", &e.CorrelationID, always)
	text(c, "stage", &e.Stage, always)
	c.time("time", &e.Time)
	c.float("seconds", &e.Seconds)
	text(c, "type", &e.Type, omitempty)
	text(c, "title", &e.Title, omitempty)
	number(c, "bytes", &e.Bytes, omitempty)
	text(c, "content_hash", &e.ContentHash, omitempty)
	text(c, "fingerprint", &e.Fingerprint, omitempty)
	c.optionalTime("submitted", &e.Submitted)
	number(c, "pages", &e.Pages, omitempty)
	list(c, "warnings", &e.Warnings, c.string)
	list(c, "ordinals", &e.Ordinals, func(n *int) { integer(c, n) })
	number(c, "chunks", &e.Chunks, omitempty)
	number(c, "of", &e.Of, omitempty)
	number(c, "reused", &e.Reused, omitempty)
	number(c, "tokens", &e.Tokens, omitempty)
	number(c, "nano", &e.Nano, omitempty)
	text(c, "model", &e.Model, omitempty)
	text(c, "parser", &e.Parser, omitempty)
	object(c, "failure", &e.Failure)
	text(c, "reply_to", &e.ReplyTo, omitempty)
}

func (f *Failure) fields(c *codec) {
	text(c, "stage", &f.Stage, always)
	text(c, "class", &f.Class, always)
	text(c, "reason", &f.Reason, always)
	text(c, "message", &f.Message, always)
	text(c, "hint", &f.Hint, omitempty)
	number(c, "attempts", &f.Attempts, omitempty)
	text(c, "origin", &f.Origin, omitempty)
	text(c, "wait", &f.Wait, omitempty)
}

func (d *Document) fields(c *codec) {
	number(c, "v", &d.V, always)
	text(c, "document", &d.Document, always)
	text(c, "tenant", &d.Tenant, always)
	text(c, "name", &d.Name, omitempty)
	number(c, "revision", &d.Revision, always)
	number(c, "sequence", &d.Sequence, omitempty)
	text(c, "state", &d.State, always)
	text(c, "stage", &d.Stage, always)
	text(c, "correlation_id", &d.CorrelationID, always)
	c.time("submitted", &d.Submitted)
	c.time("updated", &d.Updated)
	text(c, "type", &d.Type, omitempty)
	text(c, "title", &d.Title, omitempty)
	number(c, "bytes", &d.Bytes, omitempty)
	number(c, "pages", &d.Pages, omitempty)
	number(c, "chunks", &d.Chunks, omitempty)
	number(c, "indexed", &d.Indexed, omitempty)
	number(c, "reused", &d.Reused, omitempty)
	number(c, "tokens", &d.Tokens, omitempty)
	number(c, "nano", &d.Nano, omitempty)
	text(c, "model", &d.Model, omitempty)
	text(c, "parser", &d.Parser, omitempty)
	text(c, "held", &d.Held, omitempty)
	number(c, "retries", &d.Retries, omitempty)
	object(c, "failure", &d.Failure)
	list(c, "warnings", &d.Warnings, c.string)
	object(c, "upgrade", &d.Upgrade)
	number(c, "gone", &d.Gone, omitempty)
	number(c, "lost", &d.Lost, omitempty)
	object(c, "live", &d.Live)
}

func (u *Upgrade) fields(c *codec) {
	text(c, "held", &u.Held, omitempty)
	object(c, "failure", &u.Failure)
}

func (l *Live) fields(c *codec) {
	number(c, "revision", &l.Revision, always)
	text(c, "content_hash", &l.ContentHash, always)
	text(c, "fingerprint", &l.Fingerprint, always)
	number(c, "chunks", &l.Chunks, always)
	c.flag("degraded", &l.Degraded)
}
