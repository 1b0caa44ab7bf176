// Command gen writes the vocabularies that package token embeds.
//
// A vocabulary is published as one line per token, in rank order: the token's
// bytes in base64 and its rank. Every token longer than a byte comes from
// exactly one merge of two tokens of lower rank, so the list of those merges
// says the same in a quarter of the space. It also is what the encoder needs
// to undo a merge.
//
// The file is the 256 single bytes in rank order, then for every further token
// two unsigned varints: the ranks of its left and right half.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/pkoukk/tiktoken-go-loader/assets"
)

// published are the SHA-256 sums that OpenAI's tiktoken_ext/openai_public.py
// expects of the files it downloads.
var published = map[string]string{
	"cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
	"o200k_base":  "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}

func main() {
	out := flag.String("out", "../../data", "the folder to write to")
	flag.Parse()
	for name, sum := range published {
		if err := write(*out, name, sum); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
}

func write(dir, name, sum string) error {
	file, err := assets.Assets.ReadFile(name + ".tiktoken")
	if err != nil {
		return err
	}
	if got := sha256.Sum256(file); hex.EncodeToString(got[:]) != sum {
		return fmt.Errorf("the vocabulary's SHA-256 is %x, want %s", got, sum)
	}
	merges, err := compact(file)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".bpe"), merges, 0o644)
}

func compact(file []byte) ([]byte, error) {
	var tokens []string
	ranks := make(map[string]int)
	for line := range bytes.Lines(file) {
		word, rank, _ := strings.Cut(string(bytes.TrimSpace(line)), " ")
		token, err := base64.StdEncoding.DecodeString(word)
		if err != nil {
			return nil, err
		}
		if rank != fmt.Sprint(len(tokens)) {
			return nil, fmt.Errorf("rank %s follows %d", rank, len(tokens)-1)
		}
		ranks[string(token)] = len(tokens)
		tokens = append(tokens, string(token))
	}
	var out []byte
	for i, token := range tokens {
		if (len(token) == 1) != (i < 256) {
			return nil, fmt.Errorf("token %d has %d bytes", i, len(token))
		}
		if i < 256 {
			out = append(out, token[0])
			continue
		}
		left, right, err := halves(tokens, ranks, i)
		if err != nil {
			return nil, err
		}
		out = binary.AppendUvarint(out, uint64(left))
		out = binary.AppendUvarint(out, uint64(right))
	}
	return out, nil
}

// halves merges the bytes of a token until only the merge that makes the token
// itself is left.
func halves(tokens []string, ranks map[string]int, token int) (left, right int, err error) {
	var parts []int
	for i := range len(tokens[token]) {
		parts = append(parts, ranks[tokens[token][i:i+1]])
	}
	for len(parts) > 2 {
		best, at := token, -1
		for i := range len(parts) - 1 {
			if r, ok := ranks[tokens[parts[i]]+tokens[parts[i+1]]]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return 0, 0, fmt.Errorf("no merges lead to token %d, %q", token, tokens[token])
		}
		parts[at] = best
		parts = append(parts[:at+1], parts[at+2:]...)
	}
	return parts[0], parts[1], nil
}
