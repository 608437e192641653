import Foundation
import Management

/// Serves a machine's screen by VNC: `keep` takes connections, `serve` is one client's process. A VM process starts it.
@main
enum VNCProgram {
  static func main() {
    signal(SIGPIPE, SIG_IGN)
    switch CommandLine.arguments.dropFirst().first {
    case "keep": VNCKeeper.run()
    case "serve":
      guard let session = VNCSession.begin() else { return }
      exit(VNCScreen(session).run())
    default:
      FileHandle.standardError.write(Data("\(VNCKeeper.complaint)\n".utf8))
      exit(64)
    }
  }
}
