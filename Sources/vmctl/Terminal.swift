import Foundation

/// Standard output and error, and what they are connected to.
enum Terminal {
  static var outputIsTerminal: Bool { isatty(1) == 1 }
  static var errorIsTerminal: Bool { isatty(2) == 1 }

  /// Standard input, output and error that whoever started this had closed lead nowhere: else the next file or socket would be
  /// taken for them.
  static func openMissing() {
    for descriptor in Int32(0)...2 where fcntl(descriptor, F_GETFD) < 0 { _ = open("/dev/null", O_RDWR) }
  }

  static func error(_ text: String) { write(2, text + "\n") }

  /// Text for the user to read at once, also in a pipe.
  static func line(_ text: String) { write(1, text + "\n") }

  static func write(_ descriptor: Int32, _ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      bytes = bytes.dropFirst(count)
    }
  }

  static func json(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.dateEncodingStrategy = .iso8601
    line(String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// Rows with aligned columns.
  static func table(_ header: [String], _ rows: [[String]]) {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    for row in all {
      let cells = row.enumerated().map { index, cell in
        index == row.count - 1
          ? cell : cell.padding(toLength: max(widths[index], cell.count), withPad: " ", startingAt: 0)
      }
      line(cells.joined(separator: "  "))
    }
  }
}

/// Shows how far a long work is: one line that changes on a terminal, a plain line now and then in a pipe.
final class ProgressLine {
  private let isTerminal = Terminal.errorIsTerminal
  private var lastTime = Date()
  private var isOpen = false

  /// - Parameter isUrgent: worth a line in a pipe at once.
  func show(_ text: String, isUrgent: Bool = false) {
    if isTerminal {
      Terminal.write(2, "\r\u{1B}[K" + text)
      isOpen = true
    } else {
      let now = Date()
      guard isUrgent || now.timeIntervalSince(lastTime) >= 1 else { return }
      Terminal.error(text)
      lastTime = now
    }
  }

  /// - Parameter erases: takes the line away, as its work has a better last word.
  func finish(erases: Bool = false) {
    if isOpen { Terminal.write(2, erases ? "\r\u{1B}[K" : "\n") }
    isOpen = false
  }
}

/// The terminal without echo, line editing and signals while it is a guest's.
final class RawTerminal {
  private var before = termios()

  /// - Parameter interruption: what signals do in the meantime: one that ended the program would leave the terminal as it is.
  init?(until interruption: Interruption) {
    guard tcgetattr(0, &before) == 0 else { return nil }
    var raw = before
    cfmakeraw(&raw)
    tcsetattr(0, TCSADRAIN, &raw)
  }

  func restore() { tcsetattr(0, TCSADRAIN, &before) }
}
