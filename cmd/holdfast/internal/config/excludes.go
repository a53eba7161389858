package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-backup/holdfast/replicator/glob"
)

// maxList bounds a file of patterns, in bytes.
const maxList = 1 << 20

// readExcludes reads the patterns of the file that a source's exclude_from names. Without it more would be kept than is meant, and
// kept for as long as the lock lasts: so it has to be there.
func readExcludes(r *reader, n ast.Node, what string, s *Source) {
	name, ok := r.str(n, what)
	if !ok {
		return
	}
	if name == "" {
		r.problem(n, "%s must be the path of a file with patterns, a line each", what)
		return
	}
	s.ExcludeFrom = r.absolute(name)
	text, err := readList(s.ExcludeFrom)
	if err == nil {
		s.Listed, err = glob.Lines(text)
	}
	if err != nil {
		r.problem(n, "%s: %s: %v", what, s.ExcludeFrom, err)
		return
	}
	for _, p := range s.Listed {
		if kind := secretIn(p); kind != "" {
			r.problem(n, "%s: %s: a line looks like %s; it takes patterns, a line each", what, s.ExcludeFrom, kind)
			s.Listed = nil
			return
		}
	}
}

func readList(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err // the path is named by whoever tells
		}
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is no file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err == nil && len(text) > maxList {
		err = fmt.Errorf("it is larger than %d bytes", maxList)
	}
	return string(text), err
}
