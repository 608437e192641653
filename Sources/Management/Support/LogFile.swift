import Foundation
import Logging
import NIOConcurrencyHelpers

/// A VM's log: new at each start and at 4 MB, with the three before it kept as log.1 to log.3.
final class LogFile: Sendable {
  static let kept = 3
  private let folder: VMFolder
  private let limit: Int
  private let state: NIOLockedValueBox<(descriptor: Int32, size: Int)>
  /// Whether standard output and error go into the log as well.
  private let takesOutput: Bool

  init(folder: VMFolder, takesOutput: Bool = false, limit: Int = 4 << 20) throws {
    self.folder = folder
    self.limit = limit
    self.takesOutput = takesOutput
    state = NIOLockedValueBox((try Self.openNew(folder, takesOutput), 0))
  }

  deinit { state.withLockedValue { _ = close($0.descriptor) } }

  private static func openNew(_ folder: VMFolder, _ takesOutput: Bool) throws -> Int32 {
    for index in stride(from: kept, to: 0, by: -1) where Files.exists(folder.log(index - 1)) {
      rename(folder.log(index - 1), folder.log(index))
    }
    let descriptor = try Files.openFile(folder.log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, "write the log")
    if takesOutput {
      dup2(descriptor, 1)
      dup2(descriptor, 2)
    }
    return descriptor
  }

  /// A full disk loses log lines, not the machine.
  func write(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    state.withLockedValue { state in
      if state.size + bytes.count > limit, let next = try? Self.openNew(folder, takesOutput) {
        close(state.descriptor)
        state = (next, 0)
      }
      try? Files.writeAll(state.descriptor, bytes, path: folder.log)
      state.size += bytes.count
    }
  }

  func logger() -> Logger {
    Logger(label: "vm") { _ in Handler(file: self) }
  }

  private struct Handler: LogHandler {
    let file: LogFile
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let time = Date().ISO8601Format(.init(includingFractionalSeconds: true))
      let text = event.message.description.split(whereSeparator: \.isNewline).joined(separator: "\n    ")
      file.write("\(time) \(event.level) \(text)")
    }
  }
}
