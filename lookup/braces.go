package lookup

import (
	"errors"
	"fmt"
	"strings"
)

// ErrReference is wrapped by what is wrong with the text of a reference to a table,
// "type:name", or with what stands in its braces.
var ErrReference = errors.New("bad table reference")

// splitBraces is splitBraced with the words' own braces taken off.
func splitBraces(text string) ([]string, error) {
	words, err := splitBraced(text)
	for i := 0; i < len(words) && err == nil; i++ {
		words[i], err = unbrace(words[i])
	}
	return words, err
}

// splitBraced parts what stands in "{a, b {c d}}": at white space and commas that
// are not in braces themselves.
func splitBraced(text string) ([]string, error) {
	inner, ok := strings.CutPrefix(text, "{")
	if ok {
		inner, ok = strings.CutSuffix(inner, "}")
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s is not in braces", ErrReference, quoteShort(text))
	}
	return splitWords(inner)
}

// splitWords parts a text at white space and commas outside of braces.
func splitWords(text string) (words []string, err error) {
	depth, start := 0, -1
	for i := range len(text) {
		switch c := text[i]; {
		case depth == 0 && (c == ',' || isSpace(c)):
			if start >= 0 {
				words = append(words, text[start:i])
			}
			start = -1
			continue
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
		if depth < 0 {
			return nil, fmt.Errorf("%w: too many closing braces in %s", ErrReference, quoteShort(text))
		}
		if start < 0 {
			start = i
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("%w: a brace is not closed in %s", ErrReference, quoteShort(text))
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words, nil
}

// unbrace takes the braces off a word that begins with one, with the white space in
// them. Nothing may stand behind them.
func unbrace(word string) (string, error) {
	if !strings.HasPrefix(word, "{") {
		return word, nil
	}
	depth := 0
	for i := range len(word) {
		switch word[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth == 0 && i < len(word)-1 {
			return "", fmt.Errorf("%w: text behind the braces in %s", ErrReference, quoteShort(word))
		}
	}
	if depth > 0 {
		return "", fmt.Errorf("%w: a brace is not closed in %s", ErrReference, quoteShort(word))
	}
	return strings.Trim(word[1:len(word)-1], space), nil
}

// bracedLines makes the text of a table of rules that stand in braces, as in
// "regexp:{{/a/ b}, {/c/ d}}".
func bracedLines(text string) (string, error) {
	words, err := splitBraces(text)
	return strings.Join(words, "\n"), err
}
