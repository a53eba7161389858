package restore

import "io"

// WriteTo writes a piece out in full, a hole as zeros.
func WriteTo(w io.Writer, p Piece) error {
	if _, err := w.Write(p.Data); err != nil {
		return err
	}
	if p.Hole == 0 {
		return nil
	}
	_, err := io.CopyN(w, zeros{}, p.Hole)
	return err
}

// zeros is what holes are made of.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
