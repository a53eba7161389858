package pack

// PayloadSize is the number of payload bytes.
func (o *Object) PayloadSize() int64 { return o.payload }
