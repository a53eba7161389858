package main
import ("os";"fmt")
const region = "us-east-1"
func main(){ if len(os.Args)>1 && os.Args[1]==serveArgument { fmt.Println(serve(os.Stdin)) } }
