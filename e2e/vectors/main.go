// Reads YAML as kubectl does, to record what the loader of this repository has to agree with.
//
//	vectors FILE…   writes the lines `kubectl` of each corpus file anew
//
// The format of the files is described in shared/src/yaml/tests/corpus/README.md. The way from bytes to JSON is that of
// `kubectl apply --filename`: byte-order marks as in k8s.io/cli-runtime's FileVisitor, then NewYAMLOrJSONDecoder.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := rewrite(path); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

// rewrite puts a fresh `kubectl` line below each `in` line of a corpus file.
func rewrite(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var fresh strings.Builder
	for number, line := range strings.Split(strings.TrimSuffix(string(old), "\n"), "\n") {
		if strings.HasPrefix(line, "kubectl ") {
			continue
		}
		fresh.WriteString(line + "\n")
		if input, found := strings.CutPrefix(line, "in "); found {
			text, err := unpack(input)
			if err != nil {
				return fmt.Errorf("line %d: %w", number+1, err)
			}
			fresh.WriteString("kubectl " + read(text) + "\n")
		}
	}
	if fresh.String() == string(old) {
		return nil
	}
	return os.WriteFile(path, []byte(fresh.String()), 0o644)
}

// unpack makes the bytes of an input: a JSON string, or a list of strings, of numbers that repeat the string before
// them, and of {"hex": "…"}.
func unpack(input string) ([]byte, error) {
	var parts []any
	if strings.HasPrefix(input, "[") {
		if err := json.Unmarshal([]byte(input), &parts); err != nil {
			return nil, err
		}
	} else {
		var text string
		if err := json.Unmarshal([]byte(input), &text); err != nil {
			return nil, err
		}
		parts = []any{text}
	}
	var all, last []byte
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			last = []byte(part)
			all = append(all, last...)
		case float64:
			all = append(all, bytes.Repeat(last, int(part)-1)...)
		case map[string]any:
			raw, err := hex.DecodeString(fmt.Sprint(part["hex"]))
			if err != nil {
				return nil, err
			}
			last = raw
			all = append(all, last...)
		default:
			return nil, errors.New("a part is a string, a number or hex")
		}
	}
	return all, nil
}

// read returns the documents as a JSON list, followed by the error that ended the reading, if any.
func read(text []byte) string {
	marked := unicode.BOMOverride(unicode.UTF8.NewDecoder())
	decoder := yaml.NewYAMLOrJSONDecoder(transform.NewReader(bytes.NewReader(text), marked), 4096)
	documents := []string{}
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		list := shorten("[" + strings.Join(documents, ",") + "]")
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			return list + " error " + strconv.QuoteToASCII(cut(err.Error()))
		}
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
			continue
		}
		document, err := canonical(raw)
		if err != nil {
			return list + " error " + strconv.QuoteToASCII(cut(err.Error()))
		}
		documents = append(documents, document)
	}
}

// shorten puts a digest in the place of what is too long to be looked at.
func shorten(text string) string {
	if len(text) > 1000 {
		return fmt.Sprintf("sha256 %x of %d bytes", sha256.Sum256([]byte(text)), len(text))
	}
	return text
}

// cut drops the end of a long message.
func cut(text string) string {
	return text[:min(len(text), 160)]
}

// canonical writes JSON with sorted keys, no white space, and numbers as kubectl sends them: integers of 64 bits as
// they are, others as encoding/json writes a float64.
func canonical(raw []byte) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", err
	}
	var out strings.Builder
	err := write(&out, value)
	return out.String(), err
}

func write(out *strings.Builder, value any) error {
	switch value := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		out.WriteByte('{')
		for index, key := range keys {
			if index > 0 {
				out.WriteByte(',')
			}
			out.WriteString(quote(key) + ":")
			if err := write(out, value[key]); err != nil {
				return err
			}
		}
		out.WriteByte('}')
	case []any:
		out.WriteByte('[')
		for index, item := range value {
			if index > 0 {
				out.WriteByte(',')
			}
			if err := write(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	case string:
		out.WriteString(quote(value))
	case json.Number:
		text, err := number(value.String())
		if err != nil {
			return err
		}
		out.WriteString(text)
	default:
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		out.Write(text)
	}
	return nil
}

func number(text string) (string, error) {
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return strconv.FormatInt(whole, 10), nil
	}
	if whole, err := strconv.ParseUint(text, 10, 64); err == nil {
		return strconv.FormatUint(whole, 10), nil
	}
	float, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return "", err
	}
	if float == 0 {
		return "0", nil // -0 is read as the integer 0 by whoever gets it
	}
	out, err := json.Marshal(float)
	return string(out), err
}

// quote writes a string of JSON in ASCII, without the escapes for HTML.
func quote(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return strconv.QuoteToASCII(text)
	}
	var plain strings.Builder
	for _, character := range strings.TrimSuffix(out.String(), "\n") {
		if character < 0x7f {
			plain.WriteRune(character)
			continue
		}
		for _, unit := range utf16.Encode([]rune{character}) {
			fmt.Fprintf(&plain, "\\u%04x", unit)
		}
	}
	return plain.String()
}
