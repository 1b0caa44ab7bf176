package pgvector

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/pkg/words"
	"sluice/services/indexer/index"
)

// A key of the table word stands for three things at once: a tenant, a term
// and how often the chunk has it, in steps. So the index on it alone answers
// "whose chunks have this word, and how strongly", no row of another tenant is
// ever touched, and to score a chunk nothing is read but its length.
const levelBits = 3

// levels are the weights, in halves of an occurrence, that a key tells apart.
// BM25 saturates, so steps may widen.
var levels = [1 << levelBits]int{1, 3, 4, 6, 8, 12, 20, 40}

// levelOf maps a weight to the highest level that is not above it.
func levelOf(weight int) int64 {
	l := 0
	for l+1 < len(levels) && levels[l+1] <= weight {
		l++
	}
	return int64(l)
}

// gains are what the levels count for: 1 is one occurrence in the text. The
// lowest one is of a single occurrence too: nothing weighs less.
var gains = func() (g [len(levels)]float64) {
	for l, halves := range levels {
		g[l] = float64(max(halves, words.InText)) / 2
	}
	return g
}()

// salt makes the keys of one tenant.
type salt uint64

func newSalt(tenant string) salt {
	h := fnv.New64a()
	_, _ = h.Write([]byte(tenant)) // a hash never fails
	return salt(h.Sum64())
}

// key returns the key of a term at the lowest level; the others follow it. The
// finalizer of SplitMix64 spreads the term's 40 bits and the tenant's 64.
func (s salt) key(k words.Key) int64 {
	x := uint64(s) ^ uint64(k)*0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return int64((x ^ x>>31) &^ (1<<levelBits - 1))
}

// of returns the keys of terms, in ascending order.
func (s salt) of(terms []words.Term) []int64 {
	keys := make([]int64, len(terms))
	for i, t := range terms {
		keys[i] = s.key(t.Key()) | levelOf(t.Weight())
	}
	slices.Sort(keys)
	return keys
}

// Parameters of BM25, as in the SQLite store.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

const (
	// maxKeys bounds the distinct words of a query that are looked up: a
	// document pasted as a query should not cost seconds.
	maxKeys = 128
	// maxPostings bounds the places that a query's words are looked up at, by
	// leaving out the commonest words. They are what says least and costs most:
	// a word that half of all chunks have is worth a tenth of one that one in
	// thousands has. The minWords rarest are looked up whatever they cost.
	maxPostings = 10_000
	minWords    = 2
)

// rankWords is BM25 over the places of all keys: $1 keys, $2 the word each is
// of, $3 what its level counts for, $4 chunks of the tenant, $5 BM25's share of
// a word in the length, $6 how many. A word's own rarity is counted on the way.
// Where words have several keys, a chunk counts once for each word, with the
// strongest.
func rankWords(several bool) string {
	gain, group := "k.gain", ""
	if several {
		gain, group = "max(k.gain) AS gain", "GROUP BY k.word, w.id, w.length"
	}
	return fmt.Sprintf(`
	WITH place AS MATERIALIZED (
		SELECT k.word, %s, w.id, w.length
		FROM unnest($1::bigint[], $2::integer[], $3::float8[]) AS k (key, word, gain),
			LATERAL (SELECT id, length FROM word WHERE keys @> ARRAY[k.key]) AS w
		%s
	), rarity AS (
		SELECT word, ln(1 + (greatest($4::float8 - count(*), 0) + 0.5) / (count(*) + 0.5)) AS idf FROM place GROUP BY word
	)
	SELECT p.id, sum(r.idf * %g * p.gain / (p.gain + %g + $5::float8 * p.length)) AS score
	FROM place p JOIN rarity r USING (word)`, gain, group, 1+bm25K1, bm25K1*(1-bm25B))
}

// keywordQuery queues the search for words; filter restricts it to documents
// with metadata if it is not "".
func keywordQuery(batch *pgx.Batch, tenant string, asked []words.Asked, t total, filter string, k int) *pgx.QueuedQuery {
	salt := newSalt(tenant)
	var list []int64
	var word []int32
	var gain []float64
	several := false
	for i, k := range asked {
		several = several || i > 0 && k.Word == asked[i-1].Word
		for l := range levels {
			list = append(list, salt.key(k.Key)|int64(l))
			word, gain = append(word, int32(k.Word)), append(gain, gains[l])
		}
	}
	perWord := bm25K1 * bm25B * float64(t.chunks) / float64(max(t.words, 1))
	args := []any{list, word, gain, float64(t.chunks), perWord, k}
	query := rankWords(several)
	if filter != "" {
		query += " WHERE (SELECT e.meta FROM edition e WHERE e.id = p.id >> 20) @> $7"
		args = append(args, filter)
	}
	return batch.Queue(query+" GROUP BY p.id ORDER BY score DESC, p.id LIMIT $6", args...)
}

func ranking(rows pgx.Rows) ([]index.Ranked, error) {
	var out []index.Ranked
	err := each(rows, func() error {
		var r index.Ranked
		err := rows.Scan(&r.Row, &r.Score)
		out = append(out, r)
		return err
	})
	return out, err
}

// total is what ranking has to know of a tenant.
type total struct{ chunks, words int64 }

// totalsOf returns the totals of a tenant, which may be a little old.
func (s *Store) totalsOf(ctx context.Context, tx pgx.Tx, tenant string) (total, error) {
	s.mu.RLock()
	c := s.totals[tenant]
	s.mu.RUnlock()
	if c.fresh() {
		return c.value, nil
	}
	began := time.Now()
	var t total
	err := tx.QueryRow(ctx, "SELECT coalesce(sum(chunks), 0), coalesce(sum(words), 0) FROM document WHERE tenant = $1 AND visible <> 0", tenant).Scan(&t.chunks, &t.words)
	if err != nil {
		return t, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.totals) >= maxTotals {
		clear(s.totals)
	}
	s.totals[tenant] = keep(t, time.Since(began))
	return t, nil
}

// maxTotals bounds the memory that tenants take, whoever asks for whichever.
const maxTotals = 10_000

// telling returns the words of a query that are to be looked up: all of them,
// unless that would be too much work.
func (s *Store) telling(ctx context.Context, tx pgx.Tx, tenant string, asked []words.Asked) ([]words.Asked, error) {
	common, err := s.commonKeys(ctx, tx)
	if err != nil || len(common) == 0 {
		return asked, err
	}
	salt := newSalt(tenant)
	places := make(map[int]float64, len(asked)) // by word
	var rarest []int
	for _, k := range asked {
		if _, known := places[k.Word]; !known {
			rarest = append(rarest, k.Word)
		}
		for l := range levels {
			places[k.Word] += common[salt.key(k.Key)|int64(l)]
		}
	}
	slices.SortStableFunc(rarest, func(a, b int) int { return cmp.Compare(places[a], places[b]) })
	var sum float64
	n := 0
	for ; n < len(rarest) && (n < minWords || sum+places[rarest[n]] <= maxPostings); n++ {
		sum += places[rarest[n]]
	}
	return slices.DeleteFunc(slices.Clone(asked), func(k words.Asked) bool { return !slices.Contains(rarest[:n], k.Word) }), nil
}

// commonKeys returns how many chunks have the commonest keys, as the
// statistics of Postgres have it: by a sample, as of the last ANALYZE, which
// autovacuum sees to. Without statistics nothing is left out.
func (s *Store) commonKeys(ctx context.Context, tx pgx.Tx) (map[int64]float64, error) {
	s.mu.RLock()
	c := s.common
	s.mu.RUnlock()
	if c.fresh() {
		return c.value, nil
	}
	began := time.Now()
	rows, err := tx.Query(ctx, `
		SELECT m.key, m.frequency * greatest(c.reltuples, 0)
		FROM pg_stats s, pg_class c, LATERAL unnest(s.most_common_elems::text::bigint[], s.most_common_elem_freqs) AS m (key, frequency)
		WHERE s.schemaname = current_schema() AND s.tablename = 'word' AND s.attname = 'keys' AND c.oid = to_regclass('word') AND m.key IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	common := make(map[int64]float64)
	err = each(rows, func() error {
		var key int64
		var places float64
		err := rows.Scan(&key, &places)
		common[key] = places
		return err
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.common = keep(common, time.Since(began))
	s.mu.Unlock()
	return common, nil
}
