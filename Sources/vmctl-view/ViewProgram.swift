import CSDL
import Foundation
import Management

/// Shows a running machine's screen in a window: `vmctl-view MACHINE`. `vmctl view` starts it.
@main
enum ViewProgram {
  static func main() {
    signal(SIGPIPE, SIG_IGN)
    let words = CommandLine.arguments.dropFirst()
    guard let name = words.first, words.count == 1 else { fail(ScreenWindowWords.usage, status: 64) }
    do {
      let window = try ScreenWindow()
      // Without a name it is only asked whether there can be a window.
      if name.isEmpty { return }
      let entry = try Registry.fromEnvironment().find(name)
      let farewell = try window.show(try ScreenConnection(entry))
      if !farewell.isEmpty { FileHandle.standardError.write(Data("\(farewell)\n".utf8)) }
    } catch {
      fail("vmctl: \(ManagementError.text(for: error))", status: 1)
    }
  }

  private static func fail(_ text: String, status: Int32) -> Never {
    FileHandle.standardError.write(Data("\(text)\n".utf8))
    exit(status)
  }
}
