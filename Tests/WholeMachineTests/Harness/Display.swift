import Foundation

/// A display of a test's own, without a screen (Xvfb), and fingers on its keyboard and mouse (xdotool).
final class Display {
  static let isThere = access("/usr/bin/Xvfb", X_OK) == 0 && access("/usr/bin/xdotool", X_OK) == 0

  private let host: TestHost
  private let server: Child
  private let folder: String
  let environment: [String: String]

  init(_ host: TestHost) throws {
    self.host = host
    folder = host.folder + "/display"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let words = ["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp", "-fbdir", folder]
    let server = try Child(
      "Xvfb", words, environment: host.environment, streams: .files(folder: host.folder, input: nil))
    self.server = server
    let number = try poll("a display") {
      server.output.hasSuffix("\n") ? Int(server.output.trimmingCharacters(in: .whitespacesAndNewlines)) : nil
    }
    environment = ["DISPLAY": ":\(number)", "SDL_RENDER_DRIVER": "software", "SDL_VIDEODRIVER": "x11"]
  }

  deinit { end() }

  func end() { server.signal(SIGKILL) }

  /// - Returns: what it says.
  @discardableResult
  func xdotool(_ words: String...) throws -> String {
    let all = host.environment.merging(environment) { $1 }
    let child = try Child("xdotool", words, environment: all, streams: .files(folder: host.folder, input: nil))
    let status = try child.wait()
    guard status == 0 else { throw Failure("xdotool \(words) ended with \(status): \(child.errors)") }
    return child.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// What a window shows: 0xRRGGBB of each pixel, from the server's memory (X11's XWDFile.h).
  func picture(of window: String) throws -> (width: Int, pixels: [UInt32]) {
    var place: [String: Int] = [:]
    for line in try xdotool("getwindowgeometry", "--shell", window).split(separator: "\n") {
      let parts = line.split(separator: "=")
      if parts.count == 2 { place[String(parts[0])] = Int(parts[1]) }
    }
    let (left, top) = (place["X"] ?? 0, place["Y"] ?? 0)
    let (width, height) = (place["WIDTH"] ?? 0, place["HEIGHT"] ?? 0)
    let file = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder + "/Xvfb_screen0")))
    func number(_ index: Int) -> Int { file[index * 4..<index * 4 + 4].reduce(0) { $0 << 8 | Int($1) } }
    let (start, pitch) = (number(0) + number(19) * 12, number(12))
    var pixels: [UInt32] = []
    for y in top..<top + height {
      for x in left..<left + width {
        let at = start + y * pitch + x * 4
        pixels.append(UInt32(file[at + 2]) << 16 | UInt32(file[at + 1]) << 8 | UInt32(file[at]))
      }
    }
    return (width, pixels)
  }
}
