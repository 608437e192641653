import Foundation
import Logging

/// A VM's log: new at each start, at 4 MB and after a week, with the three before it kept as log.1 to log.3.
final class LogFile: Sendable {
  private let file: RotatingFile

  /// - Parameter takesOutput: standard output and error go into the log as well.
  init(folder: VMFolder, takesOutput: Bool = false, limit: Int = RotatingFile.largest) throws {
    file = try RotatingFile(folder.log, takesOutput: takesOutput, limit: limit)
  }

  func write(_ line: String) { file.write(Array((line + "\n").utf8)) }

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
