import Foundation
import Machine

/// Writes what a console says, all of it or while nobody is connected, so that the last words of a machine are not lost.
final class ConsoleRecorder: @unchecked Sendable {
  private let console: SerialConsole
  private let file: RotatingFile
  private let queue = DispatchQueue(label: "vmctl.console.recorder")
  private let lock = NSLock()
  /// Parts of the output that nobody has seen and that are not written yet; the last may have no end yet. Guarded by `lock`.
  private var unseen = [Part(next: 0)]

  /// From a position of the output to another; nil: it goes on.
  private struct Part {
    var next: Int
    var end: Int?
  }

  /// Records from the first byte on, into a file that is new at each start.
  init(_ console: SerialConsole, _ file: RotatingFile, recordsAll: Bool = false) {
    self.console = console
    self.file = file
    console.watch(ObjectIdentifier(self)) { [weak self] in self?.wake() }
    if recordsAll { return }
    console.onAudience { [weak self] isSomebody, end in self?.audience(isSomebody, end) }
  }

  private func wake() { queue.async { self.record() } }

  /// Somebody has come or all have gone, when the console's output had come to `end`. Nothing is added to it meanwhile.
  private func audience(_ isSomebody: Bool, _ end: Int) {
    lock.withLock {
      if isSomebody { unseen[unseen.count - 1].end = end } else { unseen.append(Part(next: end)) }
    }
    wake()
  }

  private func note(_ text: String) {
    file.write(Array("\n[\(Date().ISO8601Format()) \(text)]\n".utf8))
  }

  private func record() {
    while true {
      let part = lock.withLock { unseen[0] }
      if let end = part.end, part.next >= end {
        guard lock.withLock({ unseen.count > 1 }) else { return }
        note("somebody was connected")
        lock.withLock { _ = unseen.removeFirst() }
        continue
      }
      let piece = console.read(from: part.next, limit: 65536)
      if piece.lost > 0 { note("\(piece.lost) bytes did not get here in time") }
      var bytes = piece.bytes
      // Who has come meanwhile has seen the rest.
      let isDone = lock.withLock { () -> Bool in
        let first = piece.next - bytes.count
        if let end = unseen[0].end { bytes = Array(bytes.prefix(max(0, end - first))) }
        unseen[0].next = max(first + bytes.count, unseen[0].end.map { min($0, piece.next) } ?? 0)
        return piece.bytes.isEmpty
      }
      if !bytes.isEmpty { file.write(bytes) }
      if isDone { return }
    }
  }

  /// Writes what is left. The console says nothing more.
  func stop() {
    console.unwatch(ObjectIdentifier(self))
    queue.sync { record() }
  }
}

extension MachineConfiguration.UartMode {
  /// All that is said is in a file anyway.
  var isFile: Bool { if case .file = self { true } else { false } }
}
