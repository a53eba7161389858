package world

import (
	"errors"
	"os"
)

// WriteRaw writes the disk to a new sparse file: the blocks it has, holes elsewhere.
func (s *Snapshot) WriteRaw(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(s.SizeGiB << 30); err != nil {
		return err
	}
	buf := make([]byte, BlockSize)
	for n, ok := s.Content.Next(0); ok; n, ok = s.Content.Next(n + 1) {
		s.Content.Read(n, buf)
		if _, err := f.WriteAt(buf, n*BlockSize); err != nil {
			return err
		}
	}
	return nil
}
